import itertools
import logging

import pytest

from eventwire.transports.kafka.logs import Outage, Seldom, filter_logs


def record(created: float, text: str = "no node %s", *, level: int = logging.ERROR) -> logging.LogRecord:
    made = logging.LogRecord("aiokafka", level, "client.py", 1, text, (1,), None)
    made.created = created
    return made


def test_a_kind_of_error_passes_once_in_a_while_with_a_count() -> None:
    seldom = Seldom(30)
    assert seldom.filter(record(100.0))
    assert not any(seldom.filter(record(100.0 + second)) for second in range(1, 30))
    assert seldom.filter(record(105.0, "another kind: %s"))
    assert seldom.filter(again := record(130.0))
    assert again.getMessage() == "no node 1 (and 29 more like it before)"
    assert not seldom.filter(record(140.0))
    assert seldom.filter(record(10.0)), "a clock that was set back hides nothing"


def test_what_is_no_warning_passes() -> None:
    seldom = Seldom(30)
    assert all(seldom.filter(record(1.0, level=logging.INFO)) for _ in range(2))


def test_aiokafkas_errors_are_limited(caplog: pytest.LogCaptureFixture) -> None:
    filter_logs()
    filter_logs()
    for node in range(100):
        logging.getLogger("aiokafka").error("Unable connect to node with id %s: a test", node)
    assert caplog.messages == ["Unable connect to node with id 0: a test"]


def test_an_outage_is_told_once_and_its_end(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage("g", clock=itertools.count().__next__)
    for connected in (True, False, True, False, False, False, False, False, True, True):
        outage.look(connected=connected)
    assert caplog.messages == [
        "group g: no Kafka broker can be reached; trying again until one can",
        "group g: Kafka is back after 5 s",
    ]
