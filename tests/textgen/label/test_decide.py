from textgen.footage.smoothing import Kind
from textgen.label.decide import Decision, Evidence, decide, find_match
from textgen.label.matching import Match, Matcher
from textgen.label.readers import Reading
from textgen.spec.parser import Spec

CLOCK = Spec.parse("M:SS", label="SS", fields={"M": "0..9", "S": "00..59"})
SPEED = Spec.parse("NNN", label="NNN", fields={"N": "000..099"})


def judge(spec: Spec, kind: Kind, readings: list[tuple[str, float]], step: float = 0.1) -> list[Decision]:
    matcher = Matcher(spec)
    crops = []
    for at, (text, confidence) in enumerate(readings):
        reading = Reading(text, confidence)
        crops.append(Evidence(at * step, at * step, reading, find_match(matcher, reading)))
    return decide(crops, spec.classes, kind)


def sure(*texts: str) -> list[tuple[str, float]]:
    return [(text, 0.98) for text in texts]


def texts(decisions: list[Decision]) -> list[str | None]:
    return [decision.match.text if decision.match else None for decision in decisions]


def test_confident_readings_are_kept() -> None:
    readings = sure(*["0:12"] * 10, *["0:11"] * 10, *["0:10"] * 10)
    assert texts(judge(CLOCK, "clock", readings)) == [text for text, _ in readings]


def test_a_slip_between_readings_that_are_alike_is_corrected() -> None:
    readings = sure(*["0:12"] * 10)
    for slip in (("0:72", 0.9), ("0:42", 0.95), ("GOLD", 0.9)):
        decision = judge(CLOCK, "clock", [*readings[:5], slip, *readings[6:]])[5]
        assert decision.match == Match("0:12", "12")
        assert decision.corrected
        assert repr(slip[0]) in decision.reason


def test_a_slip_where_the_clock_changes_stays_doubtful() -> None:
    decision = judge(CLOCK, "clock", [*sure(*["0:12"] * 10), ("0:42", 0.95), *sure(*["0:11"] * 10)])[10]
    assert decision.match is None
    assert "against its neighbours" in decision.reason


def test_the_rest_of_the_text_must_be_alike_too() -> None:
    """The label is the same, but not the minute: which one it is, nobody knows."""
    decision = judge(CLOCK, "clock", [*sure(*["1:00"] * 5), ("GOLD", 0.95), *sure(*["2:00"] * 5)])[5]
    assert decision.match is None


def test_an_unsure_reading_needs_a_neighbour_that_was_read_alike() -> None:
    assert texts(judge(CLOCK, "clock", [*sure("0:12", "0:12"), ("0:12", 0.6), *sure("0:12", "0:12")])) == ["0:12"] * 5
    alone = judge(SPEED, "counter", [*sure("010", "011", "013"), ("016", 0.6), *sure("018", "019")])
    assert texts(alone) == ["010", "011", "013", None, "018", "019"]
    assert alone[3].reason == "reads '016', but is not sure, and no neighbour reads alike"


def test_a_counter_that_changes_often_is_not_corrected() -> None:
    speeds = sure(*(f"{30 + at // 2 + at % 2:03}" for at in range(30)))
    decisions = judge(SPEED, "counter", [*speeds, *sure("050", "050"), ("5", 0.9), *sure("050", "050"), *speeds])
    assert decisions[32] == Decision(None, "reads '5', which the game cannot show")


def test_a_value_alone_in_a_counter_that_seldom_changes_is_doubtful() -> None:
    steady = sure(*["050"] * 50)
    decisions = judge(SPEED, "counter", [*steady, ("052", 0.999), *steady])
    assert decisions[50].match != Match("052", "052")
    assert texts(decisions[:50] + decisions[51:]) == ["050"] * 100


def test_no_counter_is_a_run_of_readings_of_nothing() -> None:
    shown, hidden = sure(*["0:12"] * 10), [("", 0.95)] * 30
    assert texts(judge(CLOCK, "clock", [*shown, *hidden, *shown])) == ["0:12"] * 10 + [""] * 30 + ["0:12"] * 10
    assert texts(judge(CLOCK, "clock", [*shown, ("", 0.95), *shown]))[10] is None  # a frame that was not read
    unsure = judge(CLOCK, "clock", [*shown, *[("", 0.6)] * 30])
    assert texts(unsure) == ["0:12"] * 10 + [None] * 30
    assert unsure[-1].reason == "nothing was read, but the reader is not sure"


def test_crops_without_order_are_no_neighbours() -> None:
    decisions = judge(CLOCK, "none", [*sure("0:12", "0:12"), ("0:12", 0.6), ("0:72", 0.9), *sure("0:12", "3:45")])
    assert texts(decisions) == ["0:12", "0:12", None, None, "0:12", "3:45"]


def test_neighbours_are_close_in_time() -> None:
    readings = [*sure("0:30", "0:30"), ("GOLD", 0.9), *sure("0:30", "0:30")]
    assert texts(judge(CLOCK, "clock", readings, step=0.3))[2] == "0:30"
    assert texts(judge(CLOCK, "clock", readings, step=3))[2] is None


def test_what_the_user_gives_is_certain() -> None:
    matcher = Matcher(CLOCK)
    crops = [Evidence(at / 10, at / 10, Reading("0:12", 0.98), matcher.match("0:12")) for at in range(10)]
    crops[4] = Evidence(0.4, 0.4, Reading("0:40", 1), matcher.match("0:40"), given=True)
    assert texts(decide(crops, CLOCK.classes, "clock"))[4] == "0:40"


def test_a_reader_of_classes_gets_texts() -> None:
    match = find_match(Matcher(CLOCK), Reading(None, 0.9, "07"))
    assert match is not None
    assert CLOCK.label_of(match.text) == match.label == "07"
    assert find_match(Matcher(CLOCK), Reading(None, 0.9, "other")) == Match("", "other")
