"""foldtext: FoldedCNNs that read the numbers on game screens. The programs are `textgen` and `train`."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _version

try:
    __version__ = _version("foldtext")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"
__all__ = ["__version__"]
