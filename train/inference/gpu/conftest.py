"""pytest looks for doctests in every file; these import triton, which is not installed everywhere."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("triton") else ["fused_triton.py", "triton_layers.py"]
