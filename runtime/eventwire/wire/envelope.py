"""The topic message around an event, written and read without parsing the event.

A topic message holds its event in one member of a oneof: on the wire that is the member's tag and the event's bytes
(protobuf.dev, "Encoding"), so any message backend can use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from json import dumps
from typing import Any, cast

from eventwire.errors import Undecodable, UnknownEvent
from eventwire.policy import DataFormat
from eventwire.topic import Event, Topic
from eventwire.wire.strict_json import loads

_VARINT, _FIXED64, _LEN, _START, _END, _FIXED32 = range(6)
_WIDTH = {_FIXED64: 8, _FIXED32: 4}
_MAX_DEPTH = 100
_CONTINUES = 0x80  # the bit of a varint's byte that says another follows


def wrap(event: Event[Any], body: bytes, form: DataFormat) -> bytes:
    """The topic message that holds `body`; for a topic that is its own event, `body` itself."""
    if event.number is None:
        return body
    if form is DataFormat.JSON:
        return b'{"%b":%b}' % ((event.json_name or "").encode(), body)
    if event.delimited:
        return varint(event.number << 3 | _START) + body + varint(event.number << 3 | _END)
    return varint(event.number << 3 | _LEN) + varint(len(body)) + body


def unwrap(topic: Topic[Any], body: bytes, form: DataFormat) -> tuple[Event[Any], bytes]:
    """The event that a topic message holds, and its bytes. Raises Undecodable and UnknownEvent."""
    if not topic.envelope:
        return topic.events[0], body
    return _unwrap_json(topic, body) if form is DataFormat.JSON else _unwrap_binary(topic, body)


def _unwrap_binary(topic: Topic[Any], body: bytes) -> tuple[Event[Any], bytes]:
    members = topic.by_number
    found: Event[Any] | None = None
    parts: list[bytes] = []
    unknown = 0
    for number, wire_type, value in fields(body):
        event = members.get(number)
        if event is None:
            unknown = number
        elif wire_type != (_START if event.delimited else _LEN):
            raise Undecodable(f"topic {topic.name}: field {number} of the topic message is no message")
        elif event is found:
            parts.append(value)  # a repeated occurrence merges, and merging is concatenation
        else:
            found, parts = event, [value]
    if found is not None:
        return found, b"".join(parts)
    if unknown:
        raise UnknownEvent(f"topic {topic.name}: field {unknown} of the topic message is no event known here")
    raise Undecodable(f"topic {topic.name}: the topic message is empty, so it holds no event")


def _unwrap_json(topic: Topic[Any], body: bytes) -> tuple[Event[Any], bytes]:
    try:
        value = loads(body)
    except ValueError as error:
        raise Undecodable(f"topic {topic.name}: the body is no JSON: {error}") from error
    members = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    if len(members) != 1:
        raise Undecodable(f"topic {topic.name}: the body is no JSON object with one event")
    ((name, event_value),) = members.items()
    for event in topic.events:
        if name in (event.json_name, event.member):
            return event, dumps(event_value).encode()
    raise UnknownEvent(f"topic {topic.name}: `{name[:100]}` is no event known here")


def varint(value: int) -> bytes:
    """A base-128 varint of a non-negative number."""
    out = bytearray()
    while value >= _CONTINUES:
        out.append(value & 0x7F | _CONTINUES)
        value >>= 7
    out.append(value)
    return bytes(out)


def fields(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The top-level fields of a message: number, wire type and the bytes inside. Raises Undecodable."""
    at = 0
    while at < len(data):
        number, wire_type, start, end, at = _field(data, at, 0)
        if wire_type == _END:
            raise Undecodable("not protobuf: a group ends that never began")
        yield number, wire_type, data[start:end]


def _field(data: bytes, at: int, depth: int) -> tuple[int, int, int, int, int]:
    tag, start = _read_varint(data, at)
    number, wire_type = tag >> 3, tag & 7
    if not 0 < number < 1 << 29:
        raise Undecodable(f"not protobuf: field number {number}")
    if wire_type == _START:
        end, following = _group(data, start, number, depth + 1)
        return number, wire_type, start, end, following
    if wire_type == _VARINT:
        end = _read_varint(data, start)[1]
    elif wire_type == _LEN:
        length, start = _read_varint(data, start)
        end = start + length
    elif wire_type == _END:
        end = start
    elif (width := _WIDTH.get(wire_type)) is not None:
        end = start + width
    else:
        raise Undecodable(f"not protobuf: wire type {wire_type}")
    if end > len(data):
        raise Undecodable("not protobuf: it ends inside a field")
    return number, wire_type, start, end, end


def _group(data: bytes, at: int, number: int, depth: int) -> tuple[int, int]:
    if depth > _MAX_DEPTH:
        raise Undecodable("groups are nested too deeply")
    while at < len(data):
        inner, wire_type, _, _, following = _field(data, at, depth)
        if wire_type == _END:
            if inner != number:
                break
            return at, following
        at = following
    raise Undecodable("not protobuf: a group does not end")


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    for i in range(at, min(at + 10, len(data))):
        byte = data[i]
        value |= (byte & 0x7F) << shift
        if byte < _CONTINUES:
            return value, i + 1
        shift += 7
    raise Undecodable("not protobuf: a varint does not end")
