import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventwire.errors import InvalidEvent
from eventwire.message import Message
from eventwire.transports.kafka.logs import filter_logs
from eventwire.transports.kafka.names import kafka_name
from eventwire.transports.kafka.records import read_headers, write_headers

names = st.text(max_size=14).filter(lambda name: name.lower() != "content-type")


@given(st.lists(st.tuples(names, st.binary(max_size=8))), st.none() | st.text(max_size=20))
def test_headers_come_back_as_they_were_written(
    headers: list[tuple[str, bytes]], content_type: str | None
) -> None:
    message = Message("t", b"", headers=tuple(headers), content_type=content_type)
    assert read_headers(tuple(write_headers(message))) == (tuple(headers), content_type)


@pytest.mark.parametrize(
    "message",
    [
        Message("t", b"", headers=(("\ud800", b""),)),
        Message("t", b"", content_type="\ud800"),
        Message("t", b"", headers=(("Content-Type", b"a"),)),
    ],
)
def test_what_would_not_come_back_is_refused(message: Message) -> None:
    with pytest.raises(InvalidEvent):
        write_headers(message)


@pytest.mark.parametrize(
    ("written", "headers", "content_type"),
    [
        ((), (), None),
        ((("Content-Type", b"a"), ("x", b"1")), (("x", b"1"),), "a"),
        ((("x", b"1"), ("content-type", b"a"), ("y", b"2")), (("x", b"1"), ("y", b"2")), "a"),
        ((("content-type", b"a"), ("x", b"1"), ("CONTENT-TYPE", b"b")), (("x", b"1"),), "b"),
        ((("content-type", None), ("x", None)), (("x", b""),), ""),
        (
            (("", None), ("", b"1"), ("content-types", b"2")),
            (("", b""), ("", b"1"), ("content-types", b"2")),
            None,
        ),
        ((("content-type", b"\xff"),), (), "\ufffd"),
    ],
)
def test_headers_of_third_parties(
    written: tuple[tuple[str, bytes | None], ...],
    headers: tuple[tuple[str, bytes], ...],
    content_type: str | None,
) -> None:
    assert read_headers(written) == (headers, content_type)


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_every_name_is_legal_on_the_broker_and_its_own(one: str, other: str) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", kafka_name(one))
    assert kafka_name(one) not in {".", ".."}
    assert (kafka_name(one) == kafka_name(other)) == (one == other)


@pytest.mark.parametrize("name", ["shop.orders.v1", "a" * 249, "A_b-c", "..."])
def test_a_legal_name_stays(name: str) -> None:
    assert kafka_name(name) == name


@pytest.mark.parametrize("name", [".", "..", "a b", "a" * 250, "a/b", "ü"])
def test_another_does_not(name: str) -> None:
    assert kafka_name(name) != name
    assert kafka_name(name) == kafka_name(name)


def test_the_debug_log_tells_no_secrets(caplog: pytest.LogCaptureFixture) -> None:
    filter_logs()
    filter_logs()
    caplog.set_level(logging.DEBUG, "aiokafka")
    logging.getLogger("aiokafka.conn").debug("Request to %s:%d %d: %s", "host", 9092, 7, [b"hunter2"])
    logging.getLogger("aiokafka.producer.producer").debug(
        "Sending (key=%s value=%s) to %s", b"key", b"body", "t"
    )
    logging.getLogger("aiokafka.conn").warning("refused: %s", OSError("by the peer"))
    assert caplog.messages == [
        "Request to host:9092 7: list",
        "Sending (key=bytes value=bytes) to t",
        "refused: by the peer",
    ]
