from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from eventwire.errors import InvalidEvent, TooLarge
from eventwire.message import Message
from eventwire.transports.amqp import codec, frames

names = st.text(max_size=20).filter(lambda name: not name.startswith("eventwire_"))
pairs = st.lists(st.tuples(names, st.binary(max_size=40) | st.text(max_size=10).map(str.encode)), max_size=8)


def returned(message: Message, *, redelivered: bool = False) -> Message:
    """The message once through the wire's encoding."""
    _, key, properties = codec.encode(message, b"p0.", 1)
    data = frames.publish(1, b"", key, properties, b"", mandatory=True, frame_max=131_072)
    consumed, _, _ = pamqp.frame.unmarshal(data)
    _, _, header = pamqp.frame.unmarshal(data[consumed:])
    assert isinstance(header, ContentHeader)
    return codec.decode(message.topic, header.properties, message.body or b"", redelivered=redelivered)


def grouped(headers: Any) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for name, value in headers:
        found.setdefault(name, []).append(value)
    return found


@given(
    st.none() | st.binary(max_size=40),
    st.none() | st.binary(max_size=40),
    pairs,
    st.none() | st.text(min_size=1, max_size=20),
    st.text(max_size=20),
)
def test_a_message_comes_back(
    body: bytes | None,
    key: bytes | None,
    headers: list[tuple[str, bytes]],
    content_type: str | None,
    identity: str,
) -> None:
    sent = Message("t", body, key, tuple(headers), content_type, identity)
    got = returned(sent)
    assert grouped(got.headers) == grouped(sent.headers)
    assert list(grouped(got.headers)) == list(grouped(sent.headers))
    sent.headers = got.headers
    assert got == sent


def test_the_routing_key_tells_the_event() -> None:
    known = Message("t", b"", headers=(("cloudEvents_type", b"shop.v1.OrderPlaced"),))
    assert codec.encode(known, b"p3.", 1).key == b"p3.shop.v1.OrderPlaced"
    assert codec.encode(Message("t", b""), b"p3.", 1).key == b"p3._"
    assert codec.encode(Message("t", b"", headers=(("cloudEvents_type", b"\xff"),)), b"p3.", 1).key == b"p3._"


@pytest.mark.parametrize(
    ("error", "changes"),
    [
        (InvalidEvent, {"headers": (("cloudEvents_type", b"t" * 242),)}),
        (InvalidEvent, {"headers": (("n" * 256, b""),)}),
        (InvalidEvent, {"headers": (("\ud800", b""),)}),
        (InvalidEvent, {"headers": (("eventwire_tombstone", b""),)}),
        (InvalidEvent, {"id": "i" * 256}),
        (InvalidEvent, {"id": "\ud800"}),
        (InvalidEvent, {"content_type": "c" * 256}),
        (TooLarge, {"headers": (("a", b"x" * codec.MAX_HEADERS),)}),
        (TooLarge, {"headers": tuple((f"{n:02}", b"") for n in range(13_000))}),
        (TooLarge, {"key": b"k" * (codec.MAX_KEY + 1)}),
    ],
)
def test_what_amqp_has_no_room_for_is_refused(error: type[Exception], changes: dict[str, Any]) -> None:
    message = Message("t", b"", **changes)
    with pytest.raises(error) as caught:
        codec.encode(message, b"p0.", 1)
    assert caught.value.message is message  # type: ignore[attr-defined]


def test_headers_and_key_may_have_just_the_limit() -> None:
    largest = Message("t", b"", b"k" * codec.MAX_KEY, (("a", b"x" * (codec.MAX_HEADERS - 1)),))
    assert returned(largest) == largest


def test_a_message_with_the_most_headers_can_still_be_set_aside_whole() -> None:
    reasons = tuple((f"eventwire_dead_{name}", b"r" * 1000) for name in ("topic", "group", "error", "reason"))
    largest = Message("t", b"", b"k" * codec.MAX_KEY, (("a", b"x" * (codec.MAX_HEADERS - 1)), *reasons))
    assert returned(largest) == largest


foreign = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.binary().map(bytearray)
    | st.datetimes()
    | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(), foreign, max_size=4))
def test_nothing_that_others_write_fails(table: dict[str, Any]) -> None:
    message = codec.decode("t", Basic.Properties(headers=table), b"", redelivered=True)
    assert all(isinstance(name, str) and type(value) is bytes for name, value in message.headers)


def test_foreign_values_are_readable() -> None:
    table = {
        "d": datetime(2026, 1, 2, tzinfo=UTC),
        "n": Decimal("1.5"),
        "t": {"a": [None, b"\xff"]},
        "b": False,
    }
    message = codec.decode("t", Basic.Properties(headers=table), b"", redelivered=False)  # type: ignore[arg-type]
    assert dict(message.headers) == {
        "d": b"2026-01-02T00:00:00+00:00",
        "n": b"1.5",
        "t": b'{"a": [null, "\\\\xff"]}',
        "b": b"false",
    }


@pytest.mark.parametrize(
    ("count", "redelivered", "attempt"),
    [
        (None, False, 1),
        (None, True, 2),
        (0, True, 2),
        (4, True, 5),
        (99, False, 1),
        ("x", True, 2),
        (True, True, 2),
    ],
)
def test_attempts_are_the_brokers(count: Any, redelivered: bool, attempt: int) -> None:
    properties = Basic.Properties(headers={} if count is None else {"x-delivery-count": count})
    assert codec.attempt(properties, redelivered=redelivered) == attempt


def test_the_brokers_counts_are_no_headers_of_the_message() -> None:
    properties = Basic.Properties(headers={"x-delivery-count": 3, "own": "1"})
    assert codec.decode("t", properties, b"", redelivered=True).headers == (("own", b"1"),)
    assert dict(codec.decode("t", properties, b"", redelivered=False).headers)["x-delivery-count"] == b"3"


def test_headers_that_rabbitmq_would_route_by_travel_under_other_names() -> None:
    headers = (("CC", b"p1.x"), ("BCC", b"a"), ("BCC", b"b"), ("cc", b"c"))
    message = Message("t", b"", b"k", headers)
    properties = codec.encode(message, b"p0.", 1).properties
    assert b"\x02CC" not in properties
    assert b"\x03BCC" not in properties
    assert returned(message).headers == headers


@pytest.mark.parametrize("name", ["eventwire_cc", "eventwire_bcc", "eventwire_key", "eventwire_tombstone"])
def test_names_that_are_written_here_are_refused(name: str) -> None:
    with pytest.raises(InvalidEvent, match=name):
        codec.encode(Message("t", b"", b"k", ((name, b"v"),)), b"p0.", 1)
