"""Short names for the types of arrays and of the random generator, and the luma weights."""

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Rng = np.random.Generator
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # weights of R, G, B in the luma of ITU-R BT.601
