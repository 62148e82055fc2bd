"""Where the project's data is: the configuration, the fonts and the pictures of backgrounds."""

from __future__ import annotations

from pathlib import Path

# The packages of data are installed beside textgen. They are not found by import: a file or package called conf, fonts
# or backgrounds in the user's working folder would be taken for them.
_ROOT = Path(__file__).resolve().parents[2]
CONF = _ROOT / "conf"


def data_folder(package: str) -> Path:
    """The folder of a data package: `fonts` or `backgrounds`."""
    return _ROOT / package
