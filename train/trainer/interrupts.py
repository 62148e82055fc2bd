"""Ctrl-C and SIGTERM while a network is trained."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from train.common.parallel import ALONE, Group


@contextmanager
def delayed_interrupts(group: Group = ALONE) -> Iterator[Callable[[], bool]]:
    """Within it the first Ctrl-C (or SIGTERM) is only recorded, so that no step is cut in two; a second one interrupts.

    Gives a function that says whether one was recorded in any process of `group`, which all call it. torchrun ends
    several processes half a minute after the first signal, so that a second one, which a terminal sends besides
    torchrun, changes nothing.
    """
    recorded = False

    def record(number: int, frame: object) -> None:
        nonlocal recorded
        if recorded and group.alone:
            raise KeyboardInterrupt
        recorded = True

    if threading.current_thread() is not threading.main_thread():  # only the main thread receives signals
        yield lambda: group.any(False)
        return
    handlers = {number: signal.signal(number, record) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: group.any(recorded)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
