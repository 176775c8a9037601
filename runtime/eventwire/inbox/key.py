"""What an inbox knows an event by: the same for each delivery of it, another for every other event."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from eventwire.errors import ConfigurationError, Undecodable
from eventwire.keys import encode_key
from eventwire.middleware.delayed import origin_of
from eventwire.policy import WireFormat
from eventwire.topic import Topic
from eventwire.transport import Features

if TYPE_CHECKING:
    from eventwire.context import Context

_WITHOUT_ID = frozenset({WireFormat.PLAIN, WireFormat.CONFLUENT})


class InboxKey(NamedTuple):
    """An event, for one consumer group. `topic` is the topic's own name, also for what comes from a retry queue.

    `source` and `id` are bytes as the message has them: what is no UTF-8 must not become equal by being read as text.
    """

    group: str
    topic: str
    source: bytes
    type: str
    id: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of all its parts in hexadecimal: of one length, whatever a publisher wrote."""
        parts = (self.group.encode(), self.topic.encode(), self.source, self.type.encode(), self.id)
        return sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).hexdigest()


def require_ids(topic: Topic[Any], features: Features) -> None:
    """Raise ConfigurationError when deliveries of a topic may carry nothing that tells one event from another."""
    formats = {topic.wire_format, *topic.accept} & _WITHOUT_ID
    if not formats or features.replay or all(event.id is not None for event in topic.events):
        return
    lacking = ", ".join(event.full_name for event in topic.events if event.id is None)
    raise ConfigurationError(
        f"topic {topic.name}: an inbox knows events by their ids, and {formats.pop().name} messages carry none; "
        f"declare `id_field` on every event ({lacking}), or use a CloudEvents wire format, or a transport with "
        f"offsets (kafka, sqlite, memory) instead of {features.transport}"
    )


def key_of(context: Context) -> InboxKey:
    """The key of the event being handled. Raises Undecodable when the message carries no id after all."""
    incoming = context.incoming
    return InboxKey(
        context.group,
        context.topic.name,
        incoming.attribute("source") or b"",
        incoming.event.type,
        incoming.attribute("id") or _id_in_the_event(context) or _place(context),
    )


def _id_in_the_event(context: Context) -> bytes | None:
    path = context.incoming.event.id
    if path is None or context.event is None:
        return None
    value = path.read(context.event)
    return None if value is None else encode_key(value, path.kind)


def _place(context: Context) -> bytes:
    partition, offset = origin_of(context)
    if offset:
        return f"{context.topic.name}/{partition}/{offset}".encode()
    if context.offset is None:
        raise Undecodable(
            f"topic {context.topic.name}: the message carries no id, and its place in a log is not known either, so "
            "the inbox cannot tell it from others"
        )
    return f"{context.message.topic}/{context.partition}/{context.offset}".encode()
