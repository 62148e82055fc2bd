"""Crops from a game: sample i of a split is a function of (game, augment, assets, seed, split, i) and nothing else."""

from __future__ import annotations

import copy
import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgen.assets.backgrounds import Backgrounds
from textgen.assets.fonts import load_faces
from textgen.assets.glyph_atlas import GlyphAtlas, style_levels
from textgen.assets.holdout import held_out_canvases, held_out_faces
from textgen.assets.icons import load_icons
from textgen.common.arrays import U8
from textgen.common.errors import UserError
from textgen.common.validation import validate
from textgen.kernels import compose, contrast, jit, tables
from textgen.kernels.degrade import build_degradation_table, degrade
from textgen.kernels.glyphs import SCALE
from textgen.kernels.program import build_alphabet, compile_spec, compile_texts, decode_texts
from textgen.render import codec
from textgen.render.style_tables import build_letter_table, build_style_table
from textgen.render.transforms import PixelTransforms
from textgen.schema.augment import Augment
from textgen.schema.definition import DatasetDefinition
from textgen.schema.game import Game
from textgen.schema.split import Holdout
from textgen.spec.items import Choice

SPLITS = ("train", "val", "test")  # of every game
UNSEEN_FONTS, UNSEEN_BACKGROUNDS = "test_fonts", "test_backgrounds"  # further ones, where assets are held out
TRIES = 100  # draws of style and background for one text before the game is called impossible
MAX_CHARACTERS, MAX_PAIRS = 1000, 32 << 20  # kerning takes four bytes a pair of characters
BATCH = 512  # samples at a time: few enough for small scratch, enough that calls cost little beside them
WORKING = 256 << 20  # bytes that a batch may need beside its crops; one that would need more is drawn in parts


@dataclass
class RenderedCrops:
    """Rendered samples: images uint8 (n, H, W, 3), labels int64 (n,), texts, and the draws rejected by reason.

    `samples` (n,) says how each was drawn, see `textgen.kernels.tables.SAMPLE`.
    """

    images: U8
    labels: NDArray[np.int64]
    texts: list[str]
    samples: NDArray[Any]
    rejects: Counter[str] = field(default_factory=Counter)


class Renderer:
    """Random access to the samples of a game.

    Sample i of a split has class `i % len(classes)`, so every prefix is balanced and n·len(classes) samples hold n of
    each class exactly. A renderer may be shared by threads.

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
    ):
        text = game.text
        self.game = game
        self.stream = augment if isinstance(augment, Augment) else validate(Augment, dict(augment or {}), "augment")
        self.spec = game.parse_spec()
        self.classes = self.spec.classes
        neighbours, more = game.parse_neighbours()
        shown = self.spec.characters | more
        self.alphabet = build_alphabet(shown)
        self._program, self._others = compile_spec(self.spec, self.alphabet), compile_texts(neighbours, self.alphabet)

        if len(shown) > MAX_CHARACTERS:
            raise UserError(f"game {game.name} shows {len(shown)} different characters, more than {MAX_CHARACTERS}")
        self.faces, chances = load_faces(text.fonts, shown, text.axes)
        if text.kerning and len(self.faces) * len(shown) ** 2 > MAX_PAIRS:
            pairs = f"{len(shown)} characters in {len(self.faces)} faces make more pairs than {MAX_PAIRS:,}"
            raise UserError(f"game.text.kerning: {pairs}: set it to false, or give fewer fonts")
        self.levels = style_levels(text, len(self.faces), len(self.alphabet))
        self.backgrounds = Backgrounds(game.backgrounds, game.size, seed)
        icons, planes, self._icon_paths = load_icons(text, game.size[0])
        self._look = build_style_table(text, icons, planes)
        self._wear = build_degradation_table(self.stream, game.size)
        self._augment = PixelTransforms(self.stream.transforms)
        if self.stream.h264:
            codec.check_h264()

        holdout = holdout or Holdout()
        unseen, canvases = held_out_faces(self.faces, holdout, seed), held_out_canvases(self.backgrounds, holdout, seed)
        self._chances, self.unseen_faces, self.unseen_canvases = chances, unseen, canvases
        seen = [i for i in range(len(self.faces)) if i not in unseen]
        letters, ground = self._letters(chances, seen), self.backgrounds.ground(canvases)
        self._pools = dict.fromkeys(SPLITS, (letters, ground))
        if holdout.fonts:
            self._pools[UNSEEN_FONTS] = self._letters(chances, sorted(unseen)), ground
        if holdout.backgrounds:
            self._pools[UNSEEN_BACKGROUNDS] = letters, self.backgrounds.ground(canvases, only=True)
        self._keys = {split: _key(seed, split) for split in self._pools}
        self._atlas = GlyphAtlas(self.faces, self.levels, self.alphabet)
        self._together = self._together_of()

    @classmethod
    def of(cls, definition: DatasetDefinition) -> Renderer:
        """The renderer of a data set. Raises `UserError` for a definition that cannot be drawn at all."""
        return cls(definition.game, definition.seed, definition.augment, definition.holdout)

    def _letters(self, chances: NDArray[np.float64], usable: list[int]) -> tables.LetterTable:
        return build_letter_table(self.faces, chances, usable, self.levels, self.alphabet, self.game.text.kerning)

    def use(self, digest: Callable[[Path], str]) -> dict[str, Any]:
        """Which file is used for what, and how often: all of the assets that decides a crop, by the files' digests."""
        fonts = [
            [digest(face.path), list(face.location), float(chance), number in self.unseen_faces]
            for number, (face, chance) in enumerate(zip(self.faces, self._chances, strict=True))
        ]
        pictures = [[digest(path) for path in source.paths] for source in self.backgrounds.sources]
        held = [sorted(numbers) for numbers in self.unseen_canvases]
        return {"fonts": fonts, "pictures": pictures, "held out": held, "icons": [digest(p) for p in self._icon_paths]}

    @property
    def splits(self) -> tuple[str, ...]:
        """train, val, test, and test sets of held-out assets."""
        return tuple(self._pools)

    @cached_property
    def assets(self) -> list[Path]:
        """Every font and picture file that can show in a crop."""
        paths = [face.path for face in self.faces] + self._icon_paths
        return sorted({*paths, *(path for source in self.backgrounds.sources for path in source.paths)})

    def render(self, split: str, indices: Iterable[int]) -> RenderedCrops:
        """The samples at `indices`, in that order. Raises `UserError` where a text cannot be drawn legibly."""
        samples = self._samples(split, indices)
        images = np.empty((len(samples), *self.game.size, 3), np.uint8)
        codes = np.zeros((len(samples), self._program.length), np.uint16)
        rejects: Counter[str] = Counter()
        for start in range(0, len(samples), BATCH):
            batch = slice(start, start + BATCH)
            rejects.update(self._draw(split, samples[batch], codes[batch], images[batch]))
        return RenderedCrops(
            images, samples["label"].astype(np.int64), decode_texts(codes, self.alphabet), samples, rejects
        )

    def texts(self, split: str, indices: Iterable[int]) -> list[str]:
        """The texts of the samples at `indices`, without drawing them."""
        samples = self._samples(split, indices)
        codes = np.zeros((len(samples), self._program.length), np.uint16)
        others = np.zeros((len(samples), self._others.length), np.uint16)
        keys = np.empty((len(samples), self._program.length + self._others.length), np.int64)
        letters, _ = self._pools[split]
        compose.plan(samples, codes, others, keys, self._keys[split], self._look, letters, self._program, self._others)
        return decode_texts(codes, self.alphabet)

    def refused(self, split: str, indices: Iterable[int]) -> RenderedCrops:
        """Of the samples at `indices`, the first tries that `render` refuses and draws again.

        `samples["status"]` says why, see `textgen.kernels.tables.REASONS`. Where nothing was drawn, since the text did
        not fit or was too small, the image is black.
        """
        samples = self._samples(split, indices)
        images = np.zeros((len(samples), *self.game.size, 3), np.uint8)
        codes = np.zeros((len(samples), self._program.length), np.uint16)
        for start in range(0, len(samples), BATCH):
            batch = slice(start, start + BATCH)
            self._try(split, samples[batch], codes[batch], images[batch])
        out = samples["status"] != tables.OK
        samples, texts = samples[out], decode_texts(codes[out], self.alphabet)
        rejects = Counter(tables.REASONS[status] for status in samples["status"].tolist())
        return RenderedCrops(images[out], samples["label"].astype(np.int64), texts, samples, rejects)

    def without_text(self, split: str, samples: NDArray[Any]) -> U8:
        """The crops of `samples` (n,) once more without their texts: the same backgrounds, tries and degradation."""
        blank = copy.copy(self)
        program = compile_texts(Choice[Any](((),)), self.alphabet)
        # Whatever the class, its text is the empty one.
        blank._program = program._replace(first=np.full(2, program.first[1], np.int32))
        again = np.zeros(len(samples), tables.SAMPLE)
        for name in ("index", "label", "attempt"):
            again[name] = samples[name]
        images = np.empty((len(samples), *self.game.size, 3), np.uint8)
        for start in range(0, len(samples), BATCH):
            batch = slice(start, start + BATCH)
            blank._try(split, again[batch], np.zeros((len(again[batch]), program.length), np.uint16), images[batch])
        return images

    def _samples(self, split: str, indices: Iterable[int]) -> NDArray[Any]:
        """Records of the samples at `indices`, with nothing but index and label set."""
        if split not in self._pools:
            raise UserError(f"there is no split {split!r}: known are {', '.join(self.splits)}")
        wanted = np.fromiter(indices, np.int64)
        if len(wanted) and wanted.min() < 0:
            raise ValueError(f"samples are numbered from 0, not {wanted.min()}")
        samples = np.zeros(len(wanted), tables.SAMPLE)
        samples["index"], samples["label"] = wanted, wanted % len(self.classes)
        return samples

    def _draw(self, split: str, samples: NDArray[Any], codes: NDArray[np.uint16], images: U8) -> Counter[str]:
        """Draw a batch in place, and count the rejects.

        The text stays and all else is drawn again until it is whole and legible: were texts drawn again too, wide
        ones would grow rare and the width would tell of the class.
        """
        pending = np.arange(len(samples))
        refused = np.zeros((len(samples), len(tables.REASONS) + 1), np.int64)
        for attempt in range(TRIES):
            if attempt == 0:
                self._try(split, samples, codes, images)
            else:
                drawn, texts, pictures = samples[pending], codes[pending], images[pending]
                drawn["attempt"] = attempt
                self._try(split, drawn, texts, pictures)
                samples[pending], codes[pending], images[pending] = drawn, texts, pictures
            refused[pending, samples["status"][pending]] += 1
            pending = pending[samples["status"][pending] != tables.OK]
            if not len(pending):
                counts = {reason: int(refused[:, status].sum()) for status, reason in tables.REASONS.items()}
                return Counter({reason: count for reason, count in counts.items() if count})
        raise self._impossible(decode_texts(codes[pending[:1]], self.alphabet)[0], refused[pending[0]])

    def _try(self, split: str, samples: NDArray[Any], codes: NDArray[np.uint16], images: U8) -> None:
        """Draw every sample once, and set its status."""
        _tell_of_compilation()
        for start in range(0, len(samples), self._together):
            part = slice(start, start + self._together)
            self._try_together(split, samples[part], codes[part], images[part])

    def _together_of(self) -> int:
        """How many samples need at most WORKING bytes of masks and frames; where letters are huge, that is few."""
        em = max(face.pixels_per_em(float(self.levels.heights.max())) for face in self.faces)
        side = 1.2 * em + 2 * float(self.levels.strokes.max())
        lean = float(np.tan(np.radians(np.abs(self.levels.slants).max())))
        letters = min(self._program.length + self._others.length, len(self.alphabet))
        masks = letters * side * side * (1 + lean) * SCALE**2 * min(len(self.levels.strokes), 2)
        frames = self.stream.h264.frames if self.stream.h264 else 0
        return max(1, int(WORKING / (masks + frames * 3 * self.game.size[0] * self.game.size[1])))

    def _try_together(self, split: str, samples: NDArray[Any], codes: NDArray[np.uint16], images: U8) -> None:
        key, (letters, ground) = self._keys[split], self._pools[split]
        n = len(samples)
        others = np.zeros((n, self._others.length), np.uint16)
        keys = np.empty((n, self._program.length + self._others.length), np.int64)
        compose.plan(samples, codes, others, keys, key, self._look, letters, self._program, self._others)
        glyphs = self._atlas.metrics(keys)
        fills = np.empty((n, *self.game.size), np.uint8)
        drawing = key, self._look, letters, glyphs, ground
        still = np.zeros((n, 2), np.int64)
        compose.draw(samples, codes, others, keys, *drawing, still, images, fills)
        if self.stream.h264:
            chosen, crfs, velocities, corners = self._videos(samples, key)
            frames = np.empty((self.stream.h264.frames, len(chosen), *self.game.size, 3), np.uint8)
            scratch = np.empty((len(chosen), *self.game.size), np.uint8)
            parts = samples[chosen], codes[chosen], others[chosen], keys[chosen]
            for number, frame in enumerate(frames):
                moves = velocities * (number + 1 - len(frames))  # the last frame is the crop
                compose.draw(*parts, *drawing, moves, frame, scratch)
            for k, at in enumerate(chosen.tolist()):
                images[at] = codec.h264(frames[:, k], int(crfs[k]), self.stream.h264.preset, corners[k])
        qualities = np.zeros(n, np.int64)
        degrade(samples, images, key, self._wear, qualities)
        codec.jpeg(images, qualities)
        if self._augment:
            for image, sample in zip(images, samples, strict=True):
                if sample["status"] == tables.OK:
                    # A generator a sample and a try: streams of one key never meet.
                    counter = [0, 0, int(sample["attempt"]), int(sample["index"])]
                    image[:] = self._augment(
                        image, np.random.Generator(np.random.Philox(key=int(key), counter=counter))
                    )
        contrast.measure(samples, images, fills, self.game.text.contrast)

    def _videos(self, samples: NDArray[Any], key: np.uint64) -> tuple[NDArray[np.int64], ...]:
        """Which samples become videos (k,), their qualities (k,), the pixels that the background moves between two
        frames (k, 2), and where in a macroblock the crop's corner lies (k, 2)."""
        h264 = self.stream.h264
        assert h264 is not None
        rows = []
        for at, sample in enumerate(samples):
            counter = [0, 1, int(sample["attempt"]), int(sample["index"])]
            rng = np.random.Generator(np.random.Philox(key=int(key), counter=counter))
            if sample["status"] == tables.OK and rng.random() < h264.chance:
                low, high = h264.crf
                rows.append((at, rng.integers(low, high + 1), *rng.integers(-2, 3, 2), *rng.integers(0, 16, 2)))
        table = np.array(rows, np.int64).reshape(-1, 6)
        return table[:, 0], table[:, 1], table[:, 2:4], table[:, 4:6]

    def _impossible(self, text: str, refused: NDArray[np.int64]) -> UserError:
        order = [status for status in np.argsort(-refused).tolist() if status in tables.MENDS and refused[status]]
        reasons = ", ".join(f"{refused[status]} times {tables.REASONS[status]}" for status in order)
        mend = "; or ".join(tables.MENDS[status] for status in order)
        return UserError(f"game {self.game.name}: {text!r} could not be drawn in {TRIES} tries ({reasons}): {mend}")


@cache
def _tell_of_compilation() -> None:
    """Once in a process, say why the first drawing takes long, if it does."""
    if jit.is_cold():
        print("compiling the renderer, once: about half a minute", file=sys.stderr)


def _key(seed: int, split: str) -> np.uint64:
    """The key of the random streams of a split."""
    return np.uint64(int.from_bytes(hashlib.sha256(f"{seed}/{split}".encode()).digest()[:8], "little"))
