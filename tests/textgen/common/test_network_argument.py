"""Settings as they are written on the command line."""

import pytest

from textgen.common.hydra_arguments import _name_module


@pytest.mark.parametrize(
    ("given", "settings"),
    [
        ("network=my.module:Net", ["network=own", 'network.module="my.module:Net"']),
        ("network='my.module:Net'", ["network=own", 'network.module="my.module:Net"']),
        ("network=a.b:Net,c:Other", ["network=own", 'network.module="a.b:Net","c:Other"']),  # a sweep
        ("network=coral", ["network=coral"]),
        ("network=coral,night", ["network=coral,night"]),
    ],
)
def test_a_network_by_a_dotted_name(given: str, settings: list[str]) -> None:
    assert _name_module(given) == settings
