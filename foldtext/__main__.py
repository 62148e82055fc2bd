"""`foldtext COMMAND …`: every command of both programs under one name."""

from __future__ import annotations

import difflib
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

# Command, module with its `main`, and what it does. The console scripts foldtext-… are the same commands.
COMMANDS = {
    "new": ("textgen.new.main", "write a first file for a game"),
    "preview": ("textgen.preview.main", "draw crops of a game as a picture and a page"),
    "regions": ("textgen.regions.main", "write a page on which regions of footage are drawn"),
    "cut": ("textgen.cut.main", "cut the crops of regions out of footage"),
    "label": ("textgen.label.main", "label the crops of footage by an OCR engine or a network"),
    "lint": ("textgen.lint.main", "check what a game's crops give away besides their texts"),
    "stream": ("textgen.stream.main", "draw a simulated stream with a game's counter, to try programs on"),
    "textgen": ("textgen.main", "build a data set"),
    "frames": ("textgen.frames.main", "build the data set of a task on video"),
    "export": ("textgen.export.main", "write a data set as ImageFolder, Parquet or WebDataset"),
    "train": ("train.__main__", "train and evaluate a network"),
    "adapt": ("train.adapt.__main__", "from footage to a network that reads it: cut, label, train"),
    "evaluate": ("train.evaluate.__main__", "evaluate a trained network on other crops, or again"),
    "predict": ("train.predict.__main__", "read values from footage with trained networks"),
    "label_video": ("train.label_video.__main__", "label the frames of a video by an object detector"),
    "cascade": ("train.cascade.__main__", "put a network in front of a slower one; when folding pays"),
    "status": ("train.status.__main__", "how far the runs of a sweep are"),
    "report": ("train.report.__main__", "tables of many runs"),
    "cost": ("train.cost.__main__", "compute operations, bytes and arithmetic intensity"),
    "bench": ("train.bench.__main__", "measure crops a second"),
    "deploy": ("train.export.__main__", "write a trained network as ONNX or PyTorch program"),
}


def main() -> None:
    """The console script."""
    _check_packages()
    from textgen.common.cli import fail, version  # noqa: PLC0415

    arguments = sys.argv[1:]
    if arguments[:1] == ["--version"]:
        print(version())
        sys.exit(0)
    if not arguments or arguments[0] in ("--help", "-h"):
        print(_help())
        sys.exit(0)
    if arguments[0] not in COMMANDS:
        near = difflib.get_close_matches(arguments[0], COMMANDS, 1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(COMMANDS)}"
        fail(f"there is no command {arguments[0]!r}; {hint}")
    if "--version" in arguments:
        print(version())
        sys.exit(0)
    module, _ = COMMANDS[arguments[0]]
    sys.argv = [f"foldtext {arguments[0]}", *arguments[1:]]
    import_module(module).main()


def _check_packages() -> None:
    """Exit with 2 if a file of the user's own is imported as one of the programs, which lie beside this package."""
    for name in ("textgen", "train"):
        own = Path(__file__).resolve().parents[1] / name / "__init__.py"
        spec = find_spec(name)
        if spec is not None and spec.origin is not None and Path(spec.origin).resolve() != own:
            hint = "rename it, or use the command foldtext in place of python -m"
            print(f"error: {spec.origin} is in the way of foldtext's package {name}: {hint}", file=sys.stderr)
            sys.exit(2)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "foldtext COMMAND [settings]",
            "",
            *lines,
            "",
            "foldtext COMMAND --help lists a command's settings, foldtext --version prints the version.",
        ]
    )


if __name__ == "__main__":
    main()
