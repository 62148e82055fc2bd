"""Crops of a game: sample i of a split depends on nothing but (game, augment, assets, seed, split, i)."""

from __future__ import annotations

import copy
import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgen.assets.backgrounds import Backgrounds, table_of_canvas
from textgen.assets.fonts import load_faces
from textgen.assets.glyph_atlas import GlyphAtlas, build_style_levels
from textgen.assets.holdout import choose_held_out_canvases, choose_held_out_faces
from textgen.assets.icons import load_icons
from textgen.common.array_types import U8
from textgen.common.errors import UserError
from textgen.common.validation import validate
from textgen.kernels import tables
from textgen.kernels.contrast import measure_contrasts
from textgen.kernels.degrade import build_degradation_table, degrade
from textgen.kernels.draw import draw_crops
from textgen.kernels.glyphs import SCALE
from textgen.kernels.jit import is_cached
from textgen.kernels.style_plan import plan_samples
from textgen.kernels.text_program import build_alphabet, compile_spec, compile_texts, decode_texts, draw_labels
from textgen.render import image_codecs
from textgen.render.style_tables import build_letter_table, build_style_table
from textgen.render.transforms import PixelTransforms
from textgen.render.video import choose_videos
from textgen.schema.augment import Augment
from textgen.schema.definition import DatasetDefinition
from textgen.schema.game import Game
from textgen.schema.split import Holdout
from textgen.spec.items import Choice, Items, find_characters

SPLITS = ("train", "val", "test")  # of every game
TEST_FONTS, TEST_BACKGROUNDS = "test_fonts", "test_backgrounds"  # further splits, if assets are held out
MAX_ATTEMPTS = 100  # to draw one text legibly, before the game is refused
MAX_CHARACTERS, MAX_KERNING_PAIRS = 1000, 32 << 20  # a pair takes four bytes
BATCH = 512  # samples drawn at a time: scratch memory stays small, and the cost of a call negligible
MAX_CALL_BYTES = 256 << 20  # of masks and video frames in one call; larger batches are drawn in parts

Codes = NDArray[np.uint16]


@dataclass
class RenderedCrops:
    """Rendered samples: images uint8 (n, H, W, 3), labels int64 (n,), texts, and rejected attempts by reason.

    Labels of several fields are (n, m), see `textgen.spec.label_fields`.

    `samples` (n,) are records of how each was drawn, see `textgen.kernels.tables.SAMPLE`.
    """

    images: U8
    labels: NDArray[np.int64]
    texts: list[str]
    samples: NDArray[Any]
    rejects: Counter[str] = field(default_factory=Counter)

    @property
    def first_labels(self) -> NDArray[np.int64]:
        """The classes of the first field of the label, (n,)."""
        return self.labels if self.labels.ndim == 1 else self.labels[:, 0]


class Renderer:
    """Random access to the samples of a game.

    Sample i of a split has class `i % len(classes)`, so every prefix is balanced and n·len(classes) samples hold n of
    each class exactly. With a label of several fields, sample i is "other" if `i % period` is the last, `period` being
    the classes of the largest field, and all other texts are drawn by the weights of their fields. Threads may share a
    renderer.

    >>> import omegaconf
    >>> config = omegaconf.OmegaConf.load("conf/game/sot_time.yaml")
    >>> renderer = Renderer(Game.from_config(omegaconf.OmegaConf.to_container(config)))
    >>> renderer.render("train", range(3)).images.shape
    (3, 22, 30, 3)
    """

    def __init__(
        self,
        game: Game,
        seed: int = 0,
        augment: Augment | Mapping[str, Any] | None = None,
        holdout: Holdout | None = None,
        holdout_seed: int | None = None,
    ):
        """`holdout_seed` decides which assets are held out; None: `seed`."""
        text = game.text
        self.game = game
        self.augment = augment if isinstance(augment, Augment) else validate(Augment, dict(augment or {}), "augment")
        self.spec = game.parse_spec()
        self.fields, self.classes = self.spec.fields, self.spec.classes
        self.period = self.fields.period
        neighbours, neighbour_characters = game.parse_neighbours()
        characters = self.spec.characters | neighbour_characters
        self.alphabet = build_alphabet(characters)
        self._program = compile_spec(self.spec, self.alphabet, list(text.parts))
        self._neighbour_program = compile_texts(neighbours, self.alphabet)

        if len(characters) > MAX_CHARACTERS:
            count = f"{len(characters)} different characters, more than {MAX_CHARACTERS}"
            raise UserError(f"game {game.name} shows {count}: use fewer")
        icons_of_parts = [key for key, part in text.parts.items() if part.icon]
        shown = (find_characters(items, icons_of_parts) for items in (self.spec.items, *self.spec.others.options))
        self.font_characters = neighbour_characters.union(*shown)
        self.faces, self._chances = load_faces(
            text.fonts, self.font_characters, text.axes, text.features, text.incomplete_fonts == "skip"
        )
        if text.kerning and len(self.faces) * len(characters) ** 2 > MAX_KERNING_PAIRS:
            pairs = f"{len(characters)} characters in {len(self.faces)} faces make more pairs than"
            raise UserError(f"game.text.kerning: {pairs} {MAX_KERNING_PAIRS:,}: set it to false, or give fewer fonts")
        self.levels = build_style_levels(text, len(self.faces), len(self.alphabet))
        self.backgrounds = Backgrounds(game.backgrounds, game.size, seed)
        icons = load_icons(text, game.size[0])
        self._icon_paths = icons.paths
        self._style_table = build_style_table(text, icons, self.levels)
        self._groups = len(self._style_table.parts.palettes)
        self._degradation_table = build_degradation_table(self.augment, game.size)
        self._transforms = PixelTransforms(self.augment.transforms)
        if self.augment.h264:
            image_codecs.check_h264()

        holdout = holdout or Holdout()
        holdout_seed = seed if holdout_seed is None else holdout_seed
        self.held_out_faces = choose_held_out_faces(self.faces, holdout, holdout_seed)
        self.held_out_canvases = choose_held_out_canvases(self.backgrounds, holdout, holdout_seed)
        self._tables = self._build_split_tables(holdout)
        self._random_keys = {split: _derive_key(seed, split) for split in self._tables}
        self._atlas = GlyphAtlas(self.faces, self.levels, self.alphabet)
        self._samples_per_call = self._count_samples_per_call()

    @classmethod
    def from_definition(cls, definition: DatasetDefinition) -> Renderer:
        """The renderer of a data set. Raises `UserError` for a definition that cannot be drawn at all."""
        return cls(definition.game, definition.seed, definition.augment, definition.holdout)

    @property
    def splits(self) -> tuple[str, ...]:
        """train, val, test, and the test sets of held-out assets."""
        return tuple(self._tables)

    @cached_property
    def assets(self) -> list[Path]:
        """Every font and picture file that can appear in a crop."""
        paths = [face.path for face in self.faces] + self._icon_paths
        return sorted({*paths, *(path for source in self.backgrounds.sources for path in source.paths)})

    def asset_usage(self, digest: Callable[[Path], str]) -> dict[str, Any]:
        """The assets as far as they decide crops: digests of files, chances of faces, and what is held out."""
        fonts = [
            [digest(face.path), list(face.location), float(chance), number in self.held_out_faces]
            for number, (face, chance) in enumerate(zip(self.faces, self._chances, strict=True))
        ]
        pictures = [[digest(path) for path in source.paths] for source in self.backgrounds.sources]
        held_out = [sorted(numbers) for numbers in self.held_out_canvases]
        icons = [digest(path) for path in self._icon_paths]
        return {"fonts": fonts, "pictures": pictures, "held out": held_out, "icons": icons}

    def render(self, split: str, indices: Iterable[int]) -> RenderedCrops:
        """The samples at `indices`, in that order. Raises `UserError` if a text cannot be drawn legibly."""
        samples = self._new_samples(split, indices)
        images, codes = np.empty((len(samples), *self.game.size, 3), np.uint8), self._new_codes(len(samples))
        rejects: Counter[str] = Counter()
        for batch in _slices(len(samples), BATCH):
            rejects.update(self._draw_legibly(split, samples[batch], codes[batch], images[batch]))
        texts = decode_texts(codes, self.alphabet)
        return RenderedCrops(images, self.draw_labels(split, samples["index"]), texts, samples, rejects)

    def draw_labels(self, split: str, indices: Iterable[int]) -> NDArray[np.int64]:
        """The labels of the samples at `indices`, int64 (n,), or (n, m) for m fields, without texts and images."""
        samples = self._new_samples(split, indices)
        if not self.spec.is_joint:
            return samples["label"].astype(np.int64)
        labels = np.empty((len(samples), len(self.fields.fields)), np.int32)
        draw_labels(self._program, self._random_keys[split], samples["index"], samples["label"] == 1, labels)
        return labels.astype(np.int64)[:, 0] if self.fields.is_single else labels.astype(np.int64)

    def draw_texts(self, split: str, indices: Iterable[int]) -> list[str]:
        """The texts of the samples at `indices`, without their images."""
        samples = self._new_samples(split, indices)
        codes = self._new_codes(len(samples))
        self._plan(split, samples, codes)
        return decode_texts(codes, self.alphabet)

    def first_rejects(self, split: str, indices: Iterable[int]) -> RenderedCrops:
        """The first attempts at the samples at `indices`, as far as `render` rejects them and draws again.

        `samples["status"]` is the reason, see `textgen.kernels.tables.REJECT_REASONS`. Images of texts that do not fit
        or are too small are black.
        """
        samples = self._new_samples(split, indices)
        images, codes = np.zeros((len(samples), *self.game.size, 3), np.uint8), self._new_codes(len(samples))
        for batch in _slices(len(samples), BATCH):
            self._draw_once(split, samples[batch], codes[batch], images[batch])
        rejected = samples["status"] != tables.OK
        samples, texts = samples[rejected], decode_texts(codes[rejected], self.alphabet)
        rejects = Counter(tables.REJECT_REASONS[status] for status in samples["status"].tolist())
        return RenderedCrops(images[rejected], self.draw_labels(split, samples["index"]), texts, samples, rejects)

    def render_without_text(self, split: str, samples: NDArray[Any]) -> U8:
        """The crops of rendered `samples` (n,) without their texts: the same backgrounds and degradation."""
        program = compile_texts(Choice[Any](((),)), self.alphabet)
        without_text = copy.copy(self)  # every class has the empty text
        without_text._program = program._replace(entry=np.full(2, program.entry[1], np.int32))
        blank = np.zeros(len(samples), tables.SAMPLE)
        for name in ("index", "label", "attempt"):
            blank[name] = samples[name]
        images, codes = np.empty((len(samples), *self.game.size, 3), np.uint8), without_text._new_codes(len(samples))
        for batch in _slices(len(samples), BATCH):
            without_text._draw_once(split, blank[batch], codes[batch], images[batch])
        return images

    def draw_text(self, items: Items, sample: NDArray[Any], canvas: U8) -> U8 | None:
        """Draw a text of one's own in the style of a rendered `sample` (1,) of the split train, without degradation.

        The fields of `items` have one value each, see `textgen.spec.items.fix`; `canvas` is the background, uint8
        (H, W, 3). Returns uint8 (H, W, 3), or None if the text does not fit or is too small.
        """
        fixed = copy.copy(self)
        program = compile_texts(Choice[Items]((items,)), self.alphabet, list(self.game.text.parts))
        fixed._program = program._replace(entry=np.full(2, program.entry[1], np.int32))
        letters, _ = self._tables["train"]
        fixed._tables = {"train": (letters, table_of_canvas(canvas))}
        fixed.augment = Augment()
        drawn = np.zeros(1, tables.SAMPLE)
        for name in ("index", "attempt"):
            drawn[name] = sample[name]
        images, fills = (np.empty((1, *shape), np.uint8) for shape in (canvas.shape, (self._groups, *canvas.shape[:2])))
        _announce_compilation()
        fixed._compose("train", drawn, fixed._new_codes(1), images, fills)
        image: U8 = images[0]
        return image if drawn["status"][0] == tables.OK else None

    def _build_split_tables(self, holdout: Holdout) -> dict[str, tuple[tables.LetterTable, tables.BackgroundTable]]:
        """The letter and background table of each split."""
        seen_faces = [number for number in range(len(self.faces)) if number not in self.held_out_faces]
        letters, backgrounds = self._build_letters(seen_faces), self.backgrounds.build_table(self.held_out_canvases)
        split_tables = dict.fromkeys(SPLITS, (letters, backgrounds))
        if holdout.fonts:
            split_tables[TEST_FONTS] = self._build_letters(sorted(self.held_out_faces)), backgrounds
        if holdout.backgrounds:
            held_out = self.backgrounds.build_table(self.held_out_canvases, held_out_only=True)
            split_tables[TEST_BACKGROUNDS] = letters, held_out
        return split_tables

    def _build_letters(self, usable: list[int]) -> tables.LetterTable:
        kerning = self.game.text.kerning
        return build_letter_table(
            self.faces, self._chances, usable, self.levels, self.alphabet, self.font_characters, kerning
        )

    def _count_samples_per_call(self) -> int:
        """How many samples' masks and video frames fit in MAX_CALL_BYTES: few if letters are huge."""
        height = float(self.levels.heights.max() * self.levels.sizes.max())
        em = max(face.pixels_per_em(height) for face in self.faces)
        side = 1.2 * em + 2 * float(self.levels.strokes.max())
        lean = float(np.tan(np.radians(np.abs(self.levels.slants).max())))
        letters = min(self._program.max_length + self._neighbour_program.max_length, len(self.alphabet))
        masks = letters * side * side * (1 + lean) * SCALE**2 * min(len(self.levels.strokes), 2)
        frames = self.augment.h264.frames if self.augment.h264 else 0
        return max(1, int(MAX_CALL_BYTES / (masks + frames * 3 * self.game.size[0] * self.game.size[1])))

    def _new_samples(self, split: str, indices: Iterable[int]) -> NDArray[Any]:
        """Records of the samples at `indices`, with only index and label set."""
        if split not in self._tables:
            raise UserError(f"there is no split {split!r}: known are {', '.join(self.splits)}")
        wanted = np.fromiter(indices, np.int64)
        if len(wanted) and wanted.min() < 0:
            raise ValueError(f"samples are numbered from 0, not {wanted.min()}")
        samples = np.zeros(len(wanted), tables.SAMPLE)
        samples["index"], samples["label"] = wanted, wanted % self.period
        if self.spec.is_joint:
            samples["label"] = samples["label"] == self.period - 1
        return samples

    def _new_codes(self, count: int) -> Codes:
        return np.zeros((count, self._program.max_length), np.uint16)

    def _draw_legibly(self, split: str, samples: NDArray[Any], codes: Codes, images: U8) -> Counter[str]:
        """Draw a batch in place, and count the rejected attempts.

        Each text is kept and all else is drawn again until the crop is complete and legible. If texts were drawn again
        too, wide ones would become rare, and the width would give a hint of the class.
        """
        pending = np.arange(len(samples))
        counts = np.zeros((len(samples), len(tables.REJECT_REASONS) + 1), np.int64)  # by sample and status
        for attempt in range(MAX_ATTEMPTS):
            if attempt == 0:
                self._draw_once(split, samples, codes, images)
            else:
                some, some_codes, some_images = samples[pending], codes[pending], images[pending]
                some["attempt"] = attempt
                self._draw_once(split, some, some_codes, some_images)
                samples[pending], codes[pending], images[pending] = some, some_codes, some_images
            counts[pending, samples["status"][pending]] += 1
            pending = pending[samples["status"][pending] != tables.OK]
            if not len(pending):
                totals = {reason: int(counts[:, status].sum()) for status, reason in tables.REJECT_REASONS.items()}
                return Counter({reason: total for reason, total in totals.items() if total})
        raise self._impossible_text(decode_texts(codes[pending[:1]], self.alphabet)[0], counts[pending[0]])

    def _impossible_text(self, text: str, counts: NDArray[np.int64]) -> UserError:
        """The error for a text that was never drawn legibly; `counts` are its attempts by status."""
        order = [status for status in np.argsort(-counts).tolist() if status in tables.REMEDIES and counts[status]]
        reasons = ", ".join(f"{counts[status]} times {tables.REJECT_REASONS[status]}" for status in order)
        remedies = "; or ".join(tables.REMEDIES[status] for status in order)
        attempts = f"could not be drawn in {MAX_ATTEMPTS} tries ({reasons})"
        return UserError(f"game {self.game.name}: {text!r} {attempts}: {remedies}")

    def _draw_once(self, split: str, samples: NDArray[Any], codes: Codes, images: U8) -> None:
        """Make one attempt at every sample, and set its status."""
        _announce_compilation()
        for part in _slices(len(samples), self._samples_per_call):
            self._draw_part(split, samples[part], codes[part], images[part])

    def _draw_part(self, split: str, samples: NDArray[Any], codes: Codes, images: U8) -> None:
        """Draw, degrade and measure at most `_samples_per_call` samples."""
        key = self._random_keys[split]
        fills = np.empty((len(samples), self._groups, *self.game.size), np.uint8)
        self._compose(split, samples, codes, images, fills)
        qualities = np.zeros(len(samples), np.int64)
        degrade(samples, images, key, self._degradation_table, qualities)
        image_codecs.apply_jpeg(images, qualities)
        for image, sample in zip(images, samples, strict=True) if self._transforms else ():
            if sample["status"] == tables.OK:
                # A random stream per sample and attempt: streams with different counters never overlap.
                counter = [0, 0, int(sample["attempt"]), int(sample["index"])]
                rng = np.random.Generator(np.random.Philox(key=int(key), counter=counter))
                image[:] = self._transforms(image, rng)
        measure_contrasts(samples, images, fills, self.game.text.contrast)

    def _compose(self, split: str, samples: NDArray[Any], codes: Codes, images: U8, fills: U8) -> None:
        """Draw texts on backgrounds; with H.264, some are the last frame of a video whose background moves."""
        parts, neighbour_codes, glyph_keys = self._plan(split, samples, codes)
        key, (letters, backgrounds) = self._random_keys[split], self._tables[split]
        planned = samples, codes, parts, neighbour_codes, glyph_keys
        sources = key, self._style_table, letters, self._atlas.get_glyphs(glyph_keys), backgrounds
        draw_crops(*planned, *sources, np.zeros((len(samples), 2), np.int64), images, fills)
        h264 = self.augment.h264
        if not h264:
            return
        videos = choose_videos(samples, key, h264)
        frames = np.empty((h264.frames, len(videos.chosen), *self.game.size, 3), np.uint8)
        scratch = np.empty((len(videos.chosen), *fills.shape[1:]), np.uint8)
        planned_videos = [rows[videos.chosen] for rows in planned]
        for number, frame in enumerate(frames):
            shifts = videos.velocities * (number + 1 - len(frames))  # zero in the last frame, which is the crop
            draw_crops(*planned_videos, *sources, shifts, frame, scratch)
        for k, at in enumerate(videos.chosen.tolist()):
            images[at] = image_codecs.apply_h264(frames[:, k], int(videos.crfs[k]), h264.preset, videos.corners[k])

    def _plan(self, split: str, samples: NDArray[Any], codes: Codes) -> tuple[U8, Codes, NDArray[np.int64]]:
        """Draw texts and styles in place. Returns the part of each letter, see `PartTable`, the codes of neighbouring
        texts and the keys of all glyphs."""
        programs = self._program, self._neighbour_program
        neighbour_codes = np.zeros((len(samples), self._neighbour_program.max_length), np.uint16)
        glyph_keys = np.empty((len(samples), sum(program.max_length for program in programs)), np.int64)
        key, (letters, _) = self._random_keys[split], self._tables[split]
        parts = np.zeros(codes.shape, np.uint8)
        planned = samples, codes, parts, neighbour_codes, glyph_keys
        plan_samples(*planned, key, self._style_table, letters, *programs)
        return parts, neighbour_codes, glyph_keys


def _slices(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))


@cache
def _announce_compilation() -> None:
    """Print once per process why the first call takes long, if it has to compile."""
    if not is_cached(draw_crops):
        print("compiling the renderer, once: about half a minute", file=sys.stderr)


def _derive_key(seed: int, split: str) -> np.uint64:
    """The key of the random streams of a split."""
    return np.uint64(int.from_bytes(hashlib.sha256(f"{seed}/{split}".encode()).digest()[:8], "little"))
