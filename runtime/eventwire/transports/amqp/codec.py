"""Messages as AMQP properties and back.

Beside the headers of the message itself these are written: `eventwire_key`, the key byte for byte, where there
is one; `eventwire_tombstone` on a message without a body, which AMQP cannot tell from an empty one; `eventwire_attempt`
on what is passed to another queue of the same group, how often it was delivered before. A header
name that repeats becomes one field with an array of values. Text is written as such, other bytes as a byte array.
RabbitMQ routes copies by headers named `CC` and `BCC`, and closes the channel for values it cannot route by: they
travel under other names.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple, TypeGuard

from pamqp.commands import Basic

from eventwire.errors import InvalidEvent, TooLarge
from eventwire.message import Headers, Message
from eventwire.transports.amqp import frames

PREFIX = "cloudEvents_"
"""AMQP binding of CloudEvents 1.0, section 3.1.3.1; `:` is its alternative, `ce-` is HTTP's and seen in the wild."""
PREFIXES = (PREFIX, "cloudEvents:", "ce-")
MAX_HEADERS = 32 * 1024
"""Bytes of all headers: what does not fit one frame (131,072 by default) makes RabbitMQ close the whole connection."""

MAX_KEY = 16 * 1024
_MAX_TABLE = 96 * 1024
_ADDED = ("eventwire_dead_", "eventwire_retry_")
"""What setting a message aside adds. It has room beside the rest: the queue that it comes from forgets the message."""
_OVERHEAD = 6
"""Bytes that a field takes beside its name and value."""

_KEY, _TOMBSTONE, _NO_ID = "eventwire_key", "eventwire_tombstone", "eventwire-without-id-"
_ATTEMPT = "eventwire_attempt"
_ALIASES = {"CC": "eventwire_cc", "BCC": "eventwire_bcc"}
_REAL = {alias: name for name, alias in _ALIASES.items()}
_OWN = frozenset({_KEY, _TOMBSTONE, _ATTEMPT})
_WRITTEN = _OWN | _REAL.keys()
_TYPE = PREFIX + "type"
_COUNTS = frozenset({"x-delivery-count", "x-acquired-count"})
_DEATHS = frozenset(
    {"x-death"}
    | {f"x-{which}-death-{what}" for which in ("first", "last") for what in ("exchange", "queue", "reason")}
)
"""What RabbitMQ adds to a message that it passes to another queue (RabbitMQ, "Dead Letter Exchanges", "Effects")."""
BROKERS_OWN = _COUNTS | _DEATHS
"""Headers that RabbitMQ may change when it delivers a message again."""
_NONE = frozenset[str]()
_HIDDEN = {
    (redelivered, moved): _OWN | (_COUNTS if redelivered else _NONE) | (_DEATHS if moved else _NONE)
    for redelivered in (False, True)
    for moved in (False, True)
}
_MOST_ATTEMPTS = 1_000_000
_SHORT = 255
_KEY_PREFIX = len("p4294967295...")


class Encoded(NamedTuple):
    """A message ready for frames: its id on the wire, its routing key and its properties."""

    identity: str
    key: bytes
    properties: bytes


def encode(message: Message, key_prefix: bytes, stand_in: int, attempt: int = 0) -> Encoded:
    """The parts of a publish; the routing key is `key_prefix` and the event's type, `_` where no header tells one.

    A message without an id gets one made of `stand_in`: a returned message is known by its id alone. `attempt`: how
    often it was delivered before. Raises InvalidEvent and TooLarge.
    """
    identity = message.id or f"{_NO_ID}{stand_in}"
    kind = _kind(message)
    properties = frames.properties(
        _table(message, attempt),
        _short(message, "content type", message.content_type or ""),
        _short(message, "id", identity),
        kind,
    )
    return Encoded(identity, key_prefix + (kind or b"_"), properties)


def _kind(message: Message) -> bytes:
    """The event type for properties and routing key. Above AMQP's 255 bytes the client would cut the key, silently."""
    kind = message.header(_TYPE) or b""
    if len(kind) > _SHORT - _KEY_PREFIX:
        raise InvalidEvent(f"event type of {len(kind)} bytes: AMQP routing keys have room for 240", message)
    return kind if frames.is_text(kind) else b""


def _short(message: Message, what: str, text: str) -> bytes:
    try:
        value = text.encode()
    except UnicodeEncodeError as error:
        raise InvalidEvent(f"the {what} is no UTF-8 text: {error}", message) from error
    if len(value) > _SHORT:
        raise InvalidEvent(f"{what} of {len(value)} bytes: AMQP has room for 255", message)
    return value


def _table(message: Message, attempt: int) -> bytes:
    try:
        headers = frames.fields(_fields(message))
    except ValueError as error:  # a lone surrogate, or a name above 255 bytes
        raise InvalidEvent(
            f"a header name is no UTF-8 text of at most 255 bytes: {error}", message
        ) from error
    table = frames.table(headers + frames.fields(_own_fields(message, attempt)))
    size = len(headers) - _OVERHEAD * len(message.headers)
    if size > MAX_HEADERS:
        size -= sum(len(name) + len(value) for name, value in message.headers if name.startswith(_ADDED))
    if size > MAX_HEADERS or len(table) > _MAX_TABLE:
        raise TooLarge(
            f"{len(message.headers)} headers of {size} bytes: at most {MAX_HEADERS} on AMQP", message
        )
    return table


def _fields(message: Message) -> dict[str, bytes | list[bytes]]:
    fields: dict[str, bytes | list[bytes]] = {}
    for given, value in message.headers:
        name = _ALIASES.get(given, given)
        if name in fields:
            _append(fields, name, value)
        elif given in _WRITTEN:
            raise InvalidEvent(f"header `{given}` is written by Eventwire itself", message)
        else:
            fields[name] = value
    return fields


def _own_fields(message: Message, attempt: int) -> dict[str, bytes]:
    fields: dict[str, bytes] = {}
    if message.key is not None:
        if len(message.key) > MAX_KEY:
            raise TooLarge(f"key of {len(message.key)} bytes: at most {MAX_KEY} on AMQP", message)
        fields[_KEY] = message.key
    if message.body is None:
        fields[_TOMBSTONE] = b"true"
    if attempt:
        fields[_ATTEMPT] = b"%d" % attempt
    return fields


def _append(fields: dict[str, bytes | list[bytes]], name: str, value: bytes) -> None:
    known = fields[name]
    fields[name] = [known, value] if isinstance(known, bytes) else [*known, value]


def decode(
    topic: str, properties: Basic.Properties, body: bytes, *, redelivered: bool, moved: bool = False
) -> Message:
    """The message that was published, by us or by anybody: no header value makes it fail.

    `moved`: it came by way of another queue.
    """
    table: dict[str, Any] = properties.headers or {}
    key = table.get(_KEY)
    identity = properties.message_id or ""
    return Message(
        topic=topic,
        body=None if not body and _TOMBSTONE in table else body,
        key=None if key is None else _octets(key),
        headers=_headers(table, _HIDDEN[redelivered, moved]),
        content_type=properties.content_type or None,
        id="" if identity.startswith(_NO_ID) else identity,
    )


def attempt(properties: Basic.Properties, *, redelivered: bool, moved: bool = False) -> int:
    """Which delivery this is. On a first delivery the count is not the broker's: whoever published could write it."""
    before = _before(properties) if moved else 0
    if not redelivered:
        return before + 1
    count: Any = (properties.headers or {}).get("x-delivery-count")
    return before + (count + 1 if type(count) is int and count > 0 else 2)


def _before(properties: Basic.Properties) -> int:
    written = _octets((properties.headers or {}).get(_ATTEMPT))
    return min(int(written), _MOST_ATTEMPTS) if written.isdigit() and len(written) < _SHORT else 0


def _headers(table: dict[str, Any], without: Collection[str]) -> Headers:
    return tuple(
        [
            (_REAL.get(name, name), value.encode() if type(value) is str else _octets(value))
            for name, given in table.items()
            if name not in without
            for value in (given if _is_array(given) else (given,))
        ]
    )


def _is_array(value: object) -> TypeGuard[list[Any]]:
    """Whether it stands for a name that repeats. An empty array is a value: it has to stay visible."""
    return isinstance(value, list) and value != []


def _octets(value: Any) -> bytes:
    """Any value of a field table as bytes: text as UTF-8, nothing as empty, tables and inner arrays as JSON."""
    match value:
        case str():
            return value.encode()
        case bytes() | bytearray():
            return bytes(value)
        case None:
            return b""
        case dict() | list() | bool():
            return json.dumps(value, default=_text, ensure_ascii=False).encode()
        case _:
            return str(value.isoformat() if isinstance(value, datetime) else value).encode()


def _text(value: Any) -> str:
    return _octets(value).decode(errors="backslashreplace")
