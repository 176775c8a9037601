"""What stands in a dead letter's body, as far as it may be shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message as Protobuf

from eventwire.dead_letters.letter import Letter
from eventwire.errors import CapabilityError, ReadError
from eventwire.topic import Event, Topic
from eventwire.transport import Features
from eventwire.wire.reader import Reader

MASK = "***"


@dataclass(frozen=True, slots=True)
class Content:
    """`event` is the event as ProtoJSON, its `debug_redact` fields masked; without it, `why` tells the reason.

    `secret`: the bytes may hold what must not be shown.
    """

    type: str | None = None
    event: dict[str, Any] | None = None
    why: str = ""
    secret: bool = False


def content_of(letter: Letter, topic: Topic[Any], features: Features) -> Content:
    """Read a letter as an event of its topic. Never raises: dead letters are often unreadable."""
    secret = any(event.redacted for event in topic.events)
    if letter.pointer:
        return Content(why="the body was too large to be set aside: see the origin")
    try:
        incoming = Reader(topic, features).read(letter.message)
        event = incoming.event
        if incoming.data is None:
            return Content(event.type, why="a tombstone: no body")
        return _shown(event, incoming.decode(), secret=secret)
    except (ReadError, CapabilityError) as error:
        return Content(letter.type, why=str(error), secret=secret)


def masked_key(topic: Topic[Any]) -> bool:
    """Whether the topic's keys are copies of a redacted field."""
    return any(event.key is not None and event.key.path in event.redacted for event in topic.events)


def _shown(event: Event[Any], decoded: object, *, secret: bool) -> Content:
    if not isinstance(decoded, Protobuf):
        return Content(
            event.type, why=f"{type(decoded).__name__} of another library than protobuf", secret=secret
        )
    try:
        data: dict[str, Any] = MessageToDict(decoded)
    except Exception as error:  # noqa: BLE001  json_format raises several classes for an Any or a time it cannot write
        return Content(event.type, why=f"no ProtoJSON: {event.explain(error)}", secret=secret)
    for path in event.redacted:
        mask(data, decoded.DESCRIPTOR, path.split("."))
    return Content(event.type, data)


def mask(data: dict[str, Any], descriptor: Any, path: Sequence[str]) -> None:
    """Replace the field at a path of Protobuf names in a message's ProtoJSON; what has no fields there, whole."""
    field = descriptor.fields_by_name[path[0]]
    name: str = field.json_name
    if name not in data:
        return
    inner = data[name]
    messages = cast("list[object]", inner if isinstance(inner, list) else [inner])
    of = field.message_type
    if len(path) == 1 or of is None or of.full_name.startswith("google."):
        data[name] = MASK
        return
    for each in messages:
        mask(cast("dict[str, Any]", each), of, path[1:])
