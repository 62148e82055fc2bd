"""The automaton of a spec: it reads texts back, and proves that none can be read with two different labels."""

from collections.abc import Sequence
from typing import TypeAlias

from textgen.common.errors import SpecError
from textgen.spec.items import DIGITS, Items, OptionalText

MAX_STATES = 1_000_000  # of the automaton, and of the search for ambiguities
ACCEPT = 0  # the state in which a whole text has been read
UNREAD = -1  # the number of a label that has not been read yet

Reading: TypeAlias = tuple[int, int]  # a state, and the number of the label


class Automaton:
    """Reads texts. `steps[state]` lead on by a character, `jumps[state]` by none; a jump may tell the label.

    There is a state for each character of a text and each node of a tree of values, so it reads a text of n
    characters with s states in n·s steps, where trying the branches of `[a][a][a]…` in turn would take 2**s.
    """

    def __init__(self) -> None:
        self.steps: list[dict[str, int]] = [{}]
        self.jumps: list[list[Reading]] = [[]]

    def add(self, items: Items, after: int = ACCEPT) -> int:
        """A new state from which `items` are read, and then what is read from `after`."""
        for item in reversed(items):
            if isinstance(item, str):
                after = self._state({item: after})
            elif isinstance(item, OptionalText):
                after = self._state({}, (self.add(item.items, after), UNREAD), (after, UNREAD))
            elif item.values is not None:
                after = self.add_values(item.values.options, after)
            else:
                for _ in range(item.width):
                    after = self._state(dict.fromkeys(DIGITS, after))
        return after

    def add_values(self, values: Sequence[str], after: int, labelled: bool = False) -> int:
        """The root of a new tree in which one of `values` is read; if `labelled`, its number is the label."""
        root = self._state({})
        for number, value in enumerate(values):
            node = root
            for char in value:
                if char not in self.steps[node]:
                    self.steps[node][char] = self._state({})
                node = self.steps[node][char]
            self.jumps[node].append((after, number if labelled else UNREAD))
        return root

    def labels(self, start: int, text: str) -> list[int]:
        """The numbers of the labels with which `text` can be read."""
        readings = self._settled({(start, UNREAD)})
        for char in text:
            leads = {(self.steps[state].get(char), label) for state, label in readings}
            readings = self._settled({(state, label) for state, label in leads if state is not None})
        return sorted(label for state, label in readings if state == ACCEPT)

    def clash(self, one: Reading, two: Reading) -> str | None:
        """The shortest text that can be read from both `one` and `two` with different labels.

        A breadth-first search through pairs of readings of the same text, and so exact. Once both labels are
        read, a pair that agrees is dropped, and of one that differs is forgotten in what: few pairs remain.
        """
        # Where each pair was reached from, and by what character: all their texts would take gigabytes.
        came: dict[tuple[Reading, Reading], tuple[tuple[Reading, Reading] | None, str]] = {}
        layer: list[tuple[Reading, Reading]] = []

        def reach(first: Reading, second: Reading, before: tuple[Reading, Reading] | None, char: str) -> None:
            if UNREAD not in (first[1], second[1]):
                if first[1] == second[1]:
                    return
                first, second = (first[0], 0), (second[0], 1)
            if (first, second) not in came:
                came[first, second] = before, char
                layer.append((first, second))
                _check_size(len(came))

        def text_to(pair: tuple[Reading, Reading] | None) -> str:
            characters = []
            while pair is not None:
                pair, char = came[pair]
                characters.append(char)
            return "".join(reversed(characters))

        reach(one, two, None, "")
        while layer:
            for first, second in layer:  # which grows meanwhile: a jump reads no character
                if first[0] == second[0] == ACCEPT:
                    return text_to((first, second))
                for jumped in self._jumped(first):
                    reach(jumped, second, (first, second), "")
                for jumped in self._jumped(second):
                    reach(first, jumped, (first, second), "")
            read, layer = layer, []
            for first, second in read:
                steps, others = self.steps[first[0]], self.steps[second[0]]
                for char in steps:
                    if char in others:
                        reach((steps[char], first[1]), (others[char], second[1]), (first, second), char)
        return None

    def _state(self, steps: dict[str, int], *jumps: Reading) -> int:
        _check_size(len(self.steps))
        self.steps.append(steps)
        self.jumps.append(list(jumps))
        return len(self.steps) - 1

    def _jumped(self, reading: Reading) -> list[Reading]:
        state, label = reading
        return [(after, label if told == UNREAD else told) for after, told in self.jumps[state]]

    def _settled(self, readings: set[Reading]) -> set[Reading]:
        """`readings`, and all that jumps lead to from them."""
        todo = list(readings)
        while todo:
            new = set(self._jumped(todo.pop())) - readings
            readings |= new
            todo += new
        return readings


def _check_size(states: int) -> None:
    if states > MAX_STATES:
        raise SpecError("spec is too large to be checked for ambiguity: give its fields fewer values")
