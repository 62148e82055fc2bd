import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textgen.kernels import philox

UINT32, UINT64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)


def begun(key: int = 0, index: int = 0, stream: int = 0) -> np.ndarray:
    state = np.empty(philox.STATE, np.uint64)
    philox.start(state, np.uint64(key), np.uint64(index), np.uint64(stream))
    return state


def words(state: np.ndarray, count: int) -> list[int]:
    return [int(philox.word(state)) for _ in range(count)]


def reference(key: int, counter: list[int]) -> list[int]:
    """One block of Philox4x32-10 in Python integers, as in the paper: key (2) and counter (4) of 32 bits each."""
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        first, second = counter[0] * 0xD2511F53, counter[2] * 0xCD9E8D57
        counter = [
            (second >> 32) ^ counter[1] ^ k0,
            second & 0xFFFFFFFF,
            (first >> 32) ^ counter[3] ^ k1,
            first & 0xFFFFFFFF,
        ]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return counter


# From kat_vectors of the Random123 distribution, philox4x32 with 10 rounds: counter, key, words.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_known_answers(counter: str, key: str, expected: str) -> None:
    state = np.array([int(word, 16) for word in f"{key} {counter}".split()] + [0, 0, 0, 0, 4], np.uint64)
    assert [f"{word:08x}" for word in words(state, 4)] == expected.split()


@settings(max_examples=50, deadline=None)
@given(key=UINT64, index=UINT64, stream=UINT32)
def test_a_stream_is_the_blocks_of_its_key_and_counter(key: int, index: int, stream: int) -> None:
    counters = [[block, stream, index & 0xFFFFFFFF, index >> 32] for block in range(3)]
    expected = [word for counter in counters for word in reference(key, counter)]
    assert words(begun(key, index, stream), 12) == expected


def test_streams_samples_and_keys_differ() -> None:
    places = [(key, index, stream) for key in (0, 1, 2**32) for index in (0, 1, 2**32) for stream in (0, 1, 2)]
    drawn = [word for place in places for word in words(begun(*place), 8)]
    assert len(set(drawn)) == len(drawn)  # 216 of 2**32: two alike by chance once in 180 000


def test_uniform_fills_the_unit_interval_and_leaves_one_out() -> None:
    state = begun(1)
    drawn = np.array([philox.uniform(state) for _ in range(20_000)])
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts = np.bincount((drawn * 20).astype(int), minlength=20)
    assert ((counts - 1000) ** 2 / 1000).sum() < 19 + 5 * 38**0.5  # chi-square, five standard deviations
    assert abs(np.corrcoef(drawn[1:], drawn[:-1])[0, 1]) < 0.035
    state[6:10], state[10] = 0xFFFFFFFF, 0  # the largest word there is
    assert philox.uniform(state) == 1 - 2.0**-32
    assert philox.below(state, 2**31) == 2**31 - 1
    assert philox.weighted(state, np.array([0.5, 1.0 - 2**-20])) == 1, "cumulative chances below 1"


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 2**31), low=st.floats(-100, 100), width=st.floats(0, 100), seed=UINT64)
def test_draws_keep_their_bounds(n: int, low: float, width: float, seed: int) -> None:
    state = begun(seed)
    for _ in range(10):
        assert 0 <= philox.below(state, n) < n
        assert low <= philox.between(state, low, low + width) <= low + width
    assert philox.between(state, low, low) == low


def test_below_and_weighted_have_the_given_chances() -> None:
    state, chances = begun(2), np.array([0.1, 0.0, 0.6, 0.3])
    even = np.bincount([philox.below(state, 7) for _ in range(14_000)], minlength=7)
    assert ((even - 2000) ** 2 / 2000).sum() < 6 + 5 * 12**0.5
    bounds = np.cumsum(chances)
    shown = np.bincount([philox.weighted(state, bounds) for _ in range(10_000)], minlength=4) / 10_000
    assert shown[1] == 0
    np.testing.assert_allclose(shown, chances, atol=0.025)  # five standard deviations
    assert {int(philox.weighted(state, np.array([1.0]))) for _ in range(50)} == {0}
