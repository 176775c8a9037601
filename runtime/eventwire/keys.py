"""Key bytes: the same bytes for a key on every broker, so that partitions agree."""

from __future__ import annotations

from typing import Any, TypeVar

from eventwire.errors import InvalidEvent
from eventwire.topic import Event, FieldKind, FieldPath, Topic

M = TypeVar("M")


def key_bytes(event: Event[M], message: M) -> bytes | None:
    """The event's key, or None on a topic without keys. Raises InvalidEvent for an unset or empty one."""
    if event.key is None:
        return None
    value = event.key.read(message)
    if value is None or value in ("", b""):
        raise InvalidEvent(
            f"{event.full_name}.{event.key.path} is the key of its topic and is "
            f"{'unset' if value is None else 'empty'}: set it before publishing"
        )
    return encode_key(value, event.key.kind)


def encode_key(value: Any, kind: FieldKind) -> bytes:
    """Strings as UTF-8, integers in decimal ASCII, bytes as they are, enums by number."""
    match kind:
        case FieldKind.STRING:
            return str(value).encode()
        case FieldKind.BYTES:
            return bytes(value)
        case _:
            return b"%d" % int(value)


def decode_key(key: bytes, kind: FieldKind) -> str | bytes | int:
    """The key's value again. Raises ValueError for bytes that `encode_key` does not make."""
    match kind:
        case FieldKind.STRING:
            return key.decode()
        case FieldKind.BYTES:
            return key
        case _:
            return int(key)


def topic_key(topic: Topic[Any]) -> FieldPath[Any]:
    """The key of a keyed topic. Raises InvalidEvent on one without keys."""
    if (key := topic.events[0].key) is None:
        raise InvalidEvent(f"topic {topic.name} has no key")
    return key
