"""Our frames as the client's own decoder reads them."""

import pamqp.frame
from hypothesis import given
from hypothesis import strategies as st
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from eventwire.transports.amqp import frames

names = st.text(max_size=60).filter(lambda name: len(name.encode()) <= 255)
values = st.binary(max_size=50) | st.text(max_size=20).map(str.encode)


def decoded(data: bytes) -> list[object]:
    found: list[object] = []
    while data:
        consumed, channel, frame = pamqp.frame.unmarshal(data)
        assert channel == 7
        found.append(frame)
        data = data[consumed:]
    return found


def octets(value: object) -> object:
    if isinstance(value, str):
        return value.encode()
    return [octets(item) for item in value] if isinstance(value, list) else bytes(value)  # type: ignore[call-overload]


headers = st.dictionaries(names, values | st.lists(values, min_size=1, max_size=3))
text = st.text(max_size=20)


@given(headers, st.tuples(text, text, text), st.binary(max_size=600), st.booleans())
def test_a_publish_reads_as_written(
    headers: dict[str, bytes | list[bytes]], texts: tuple[str, str, str], body: bytes, mandatory: bool
) -> None:
    content_type, identity, kind = texts
    table = frames.table(frames.fields(headers))
    properties = frames.properties(table, content_type.encode(), identity.encode(), kind.encode())
    data = frames.publish(7, b"exchange", b"p0.key", properties, body, mandatory=mandatory, frame_max=108)
    method, header, *parts = decoded(data)
    assert isinstance(method, Basic.Publish)
    assert (method.exchange, method.routing_key, method.mandatory, method.immediate) == (
        "exchange",
        "p0.key",
        mandatory,
        False,
    )
    assert isinstance(header, ContentHeader)
    assert header.body_size == len(body)
    read = header.properties
    assert (read.content_type or "", read.message_id, read.message_type or "") == (
        content_type,
        identity,
        kind,
    )
    assert read.delivery_mode == 2
    assert {name: octets(value) for name, value in (read.headers or {}).items()} == headers
    assert list(read.headers or {}) == list(headers)
    assert all(isinstance(part, ContentBody) and len(part.value) <= 100 for part in parts)
    assert b"".join(part.value for part in parts if isinstance(part, ContentBody)) == body


def test_void_is_a_value() -> None:
    properties = frames.properties(frames.table(frames.fields({"nothing": None})), b"", b"1", b"")
    _, header = decoded(frames.publish(7, b"", b"", properties, b"", mandatory=False, frame_max=4096))
    assert isinstance(header, ContentHeader)
    assert header.properties.headers == {"nothing": None}


@given(st.integers(1, 2**63 - 1), st.booleans())
def test_an_ack_reads_as_written(tag: int, multiple: bool) -> None:
    [ack] = decoded(frames.ack(7, tag, multiple=multiple))
    assert isinstance(ack, Basic.Ack)
    assert (ack.delivery_tag, ack.multiple) == (tag, multiple)
