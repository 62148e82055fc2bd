"""The automaton of a spec: it finds the labels of a text, and texts that can be read with two labels."""

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import TypeAlias

from textgen.common.errors import SpecError
from textgen.spec.characters import is_blank
from textgen.spec.items import DIGITS, Items, OptionalText

MAX_STATES = 1_000_000  # limit of the automaton, and of the search for ambiguities
ACCEPT = 0  # the state after a complete text
BLANK = " "
UNREAD = -1  # in place of a label: not read yet

Reading: TypeAlias = tuple[int, int]  # a state, and the number of the label that was read


class Automaton:
    """A nondeterministic finite automaton that reads texts.

    `steps[state]` maps a character to the next state. `jumps[state]` are the states that are reached without reading a
    character; a jump may set the label. There is one state per character of a text and per node of a trie of values, so
    reading n characters with s states takes n·s steps, whereas backtracking over `[a][a][a]…` would take 2**s.
    """

    def __init__(self, *, as_drawn: bool = False) -> None:
        """`as_drawn`: texts that look the same are the same. All blanks are one, and those at the ends do not count."""
        self.steps: list[dict[str, int]] = [{}]
        self.jumps: list[list[Reading]] = [[]]
        self._as_drawn = as_drawn
        if as_drawn:
            self.steps[ACCEPT][BLANK] = ACCEPT

    def begin(self, state: int) -> int:
        """The state at which to begin to read a text that `state` reads."""
        if not self._as_drawn:
            return state
        start = self._add_state({}, (state, UNREAD))
        self.steps[start][BLANK] = start
        return start

    def add(self, items: Items, after: int = ACCEPT) -> int:
        """Add states that read `items` and then continue at the state `after`; return the first one."""
        for item in reversed(items):
            if isinstance(item, str):
                after = self._add_state({self._fold(item): after})
            elif isinstance(item, OptionalText):
                after = self._add_state({}, (self.add(item.items, after), UNREAD), (after, UNREAD))
            elif item.values is not None:
                after = self.add_values(item.values.options, after)
            else:
                for _ in range(item.width):
                    after = self._add_state(dict.fromkeys(DIGITS, after))
        return after

    def add_values(self, values: Sequence[str], after: int, labels: Sequence[int] = ()) -> int:
        """Add a trie that reads one of `values`; return its root. `labels` are the numbers of their labels."""
        root = self._add_state({})
        for value, label in zip(values, labels or repeat(UNREAD), strict=bool(labels)):
            node = root
            for char in map(self._fold, value):
                if char not in self.steps[node]:
                    self.steps[node][char] = self._add_state({})
                node = self.steps[node][char]
            self.jumps[node].append((after, label))
        return root

    def add_jumps(self, *jumps: Reading) -> int:
        """Add a state that reads nothing, and goes on with any of `jumps`; return it."""
        return self._add_state({}, *jumps)

    def find_labels(self, start: int, text: str) -> list[int]:
        """Find the numbers of all labels with which `text` can be read from the state `start`."""
        readings = self.start(start)
        for char in text:
            readings = self.read(readings, char)
        return sorted(label for state, label in readings if state == ACCEPT)

    def start(self, *states: int) -> set[Reading]:
        """The readings of no character from any of `states`."""
        return self._follow_jumps({(state, UNREAD) for state in states})

    def read(self, readings: Iterable[Reading], char: str) -> set[Reading]:
        """The readings of one character more; none if no text goes on with it."""
        folded = self._fold(char)
        reached = {(self.steps[state].get(folded), label) for state, label in readings}
        return self._follow_jumps({(state, label) for state, label in reached if state is not None})

    def find_ambiguous_text(self, one: Reading, two: Reading) -> str | None:
        """Find the shortest text that can be read from both `one` and `two` with different labels.

        An exhaustive breadth-first search over pairs of readings of the same text. Once both labels are read, pairs
        with equal labels are dropped, and pairs with different labels are merged, which keeps their number small.
        """
        # The predecessor and the character of each pair; storing the texts of all pairs would take gigabytes.
        predecessors: dict[tuple[Reading, Reading], tuple[tuple[Reading, Reading] | None, str]] = {}
        layer: list[tuple[Reading, Reading]] = []

        def visit(first: Reading, second: Reading, previous: tuple[Reading, Reading] | None, char: str) -> None:
            if UNREAD not in (first[1], second[1]):
                if first[1] == second[1]:
                    return
                first, second = (first[0], 0), (second[0], 1)
            if (first, second) not in predecessors:
                predecessors[first, second] = previous, char
                layer.append((first, second))
                _check_size(len(predecessors))

        def text_to(pair: tuple[Reading, Reading] | None) -> str:
            characters = []
            while pair is not None:
                pair, char = predecessors[pair]
                characters.append(char)
            return "".join(reversed(characters))

        visit(one, two, None, "")
        while layer:
            for first, second in layer:  # grows in the loop: a jump reads no character, so it stays in this layer
                if first[0] == second[0] == ACCEPT:
                    return text_to((first, second))
                for jumped in self._jump(first):
                    visit(jumped, second, (first, second), "")
                for jumped in self._jump(second):
                    visit(first, jumped, (first, second), "")
            done, layer = layer, []
            for first, second in done:
                steps, other_steps = self.steps[first[0]], self.steps[second[0]]
                for char in steps:
                    if char in other_steps:
                        visit((steps[char], first[1]), (other_steps[char], second[1]), (first, second), char)
        return None

    def _fold(self, character: str) -> str:
        return BLANK if self._as_drawn and is_blank(character) else character

    def _add_state(self, steps: dict[str, int], *jumps: Reading) -> int:
        _check_size(len(self.steps))
        self.steps.append(steps)
        self.jumps.append(list(jumps))
        return len(self.steps) - 1

    def _jump(self, reading: Reading) -> list[Reading]:
        """The readings one jump away; a jump without a label keeps the label of `reading`."""
        state, label = reading
        return [(after, label if new == UNREAD else new) for after, new in self.jumps[state]]

    def _follow_jumps(self, readings: set[Reading]) -> set[Reading]:
        """Return `readings` and all readings that jumps reach from them."""
        pending = list(readings)
        while pending:
            new = set(self._jump(pending.pop())) - readings
            readings |= new
            pending += new
        return readings


def _check_size(states: int) -> None:
    if states > MAX_STATES:
        raise SpecError("spec is too large to be checked for ambiguity: give its fields fewer values")
