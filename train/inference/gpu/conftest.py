"""Where triton is not installed, pytest does not collect doctests from the modules that import it."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("triton") else ["fused.py", "layers.py"]
