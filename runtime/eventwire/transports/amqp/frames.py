"""AMQP 0-9-1 frames of the hot path: publishing a message, acknowledging deliveries.

Written here because the client's general encoder takes most of the time of a publish, sorts headers and cannot write
bytes that are not UTF-8. Section numbers are of the AMQP 0-9-1 specification; field types of RabbitMQ's errata.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import TypeAlias

Fields: TypeAlias = Mapping[str, bytes | Sequence[bytes] | None]
"""Header fields: a value, several (an array), or None (void)."""

_METHOD, _HEADER, _BODY, _END = 1, 2, 3, b"\xce"
_FRAME = Struct(">BHI")  # 4.2.3: type, channel, payload size
_PUBLISH = Struct(">HHH")  # 1.8.3.7: class, method, reserved
_CONTENT = Struct(">HHQH")  # 4.2.6.1: class, weight, body size, property flags
_ACK = Struct(">BHIHHQBB")  # 1.8.3.13, a whole frame
_LONG = Struct(">I")

_CONTENT_TYPE, _HEADERS, _DELIVERY_MODE, _MESSAGE_ID, _TYPE = 0x8000, 0x2000, 0x1000, 0x0080, 0x0020
_PERSISTENT = b"\x02"
_FRAME_OVERHEAD = 8


def short(data: bytes) -> bytes:
    """A short string; the caller saw to its 255 bytes."""
    return bytes((len(data),)) + data


def fields(values: Fields) -> bytes:
    """The inside of a field table, in the order given. Raises ValueError for a name that is no short string."""
    return b"".join([short(name.encode()) + _value(value) for name, value in values.items()])


def table(fields: bytes) -> bytes:
    """A field table."""
    return _LONG.pack(len(fields)) + fields


def _value(value: bytes | Sequence[bytes] | None) -> bytes:
    if isinstance(value, bytes):
        return (b"S" if is_text(value) else b"x") + _LONG.pack(len(value)) + value
    if value is None:
        return b"V"
    content = b"".join(map(_value, value))
    return b"A" + _LONG.pack(len(content)) + content


def is_text(value: bytes) -> bool:
    """Whether the bytes are UTF-8."""
    if value.isascii():
        return True
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def properties(headers: bytes, content_type: bytes, message_id: bytes, kind: bytes) -> bytes:
    """The flags and values of a persistent message's properties (1.8.3); `headers` is a field table."""
    flags = _HEADERS | _DELIVERY_MODE | _MESSAGE_ID
    before, after = b"", b""
    if content_type:
        flags |= _CONTENT_TYPE
        before = short(content_type)
    if kind:
        flags |= _TYPE
        after = short(kind)
    return flags.to_bytes(2, "big") + before + headers + _PERSISTENT + short(message_id) + after


def publish(
    channel: int,
    exchange: bytes,
    key: bytes,
    properties: bytes,
    body: bytes,
    *,
    mandatory: bool,
    frame_max: int,
) -> bytes:
    """All frames of one basic.publish."""
    method = _PUBLISH.pack(60, 40, 0) + short(exchange) + short(key) + (b"\x01" if mandatory else b"\x00")
    content = _CONTENT.pack(60, 0, len(body), int.from_bytes(properties[:2], "big")) + properties[2:]
    head = frame(_METHOD, channel, method) + frame(_HEADER, channel, content)
    room = frame_max - _FRAME_OVERHEAD
    if len(body) <= room:
        return head + frame(_BODY, channel, body) if body else head
    parts = (body[start : start + room] for start in range(0, len(body), room))
    return head + b"".join(frame(_BODY, channel, part) for part in parts)


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """A frame (4.2.3)."""
    return _FRAME.pack(kind, channel, len(payload)) + payload + _END


def ack(channel: int, tag: int, *, multiple: bool = False) -> bytes:
    """basic.ack: of one delivery, or of every one up to it."""
    return _ACK.pack(_METHOD, channel, 13, 60, 80, tag, 1 if multiple else 0, 0xCE)
