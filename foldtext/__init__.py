"""foldtext: FoldedCNNs that read the numbers on game screens. The programs are `textgen` and `train`."""

from importlib.metadata import version as _version

__version__ = _version("foldtext")
__all__ = ["__version__"]
