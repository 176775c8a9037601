"""From a message to its row and back, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Hashable
from dataclasses import dataclass, fields
from typing import Any

from eventwire.message import Headers, Message
from eventwire.outbox.tables import SLOTS
from eventwire.partition import murmur2
from eventwire.transport import TopicSpec

_SPEC = {field.name: field.default for field in fields(TopicSpec) if field.name != "name"}


@dataclass(frozen=True, slots=True)
class Row:
    """A recorded event, as the relay reads it. `line` is what its order is kept within."""

    seq: int
    slot: int
    broker: str
    spec: TopicSpec
    message: Message
    line: Hashable
    attempts: int


def slot_of(topic: str, key: bytes | None, id: str) -> int:
    """A keyed event's slot is its key's; others are spread by their ids."""
    return (murmur2(topic.encode() + b"\0" + (id.encode() if key is None else key)) & 0x7FFFFFFF) % SLOTS


def write_spec(spec: TopicSpec) -> str:
    """What a relay must know of a topic besides its name: what differs from the defaults."""
    facts = {name: getattr(spec, name) for name in _SPEC}
    return json.dumps({name: fact for name, fact in facts.items() if fact != _SPEC[name]})


def read_spec(name: str, text: str) -> TopicSpec:
    """The topic again. Facts that only a newer version knows are left out."""
    facts: dict[str, Any] = json.loads(text)
    return TopicSpec(name, **{fact: value for fact, value in facts.items() if fact in _SPEC})


def write_headers(headers: Headers) -> str:
    """Headers as JSON; values are bytes and need not be text."""
    return json.dumps([[name, value.decode("latin-1")] for name, value in headers])


def read_headers(text: str) -> Headers:
    """The headers again."""
    pairs: list[tuple[str, str]] = json.loads(text)
    return tuple((name, value.encode("latin-1")) for name, value in pairs)


def read_row(found: Any) -> Row:
    """A row of the table, as SQLAlchemy gives it."""
    key = None if found.key is None else bytes(found.key)
    body = None if found.body is None else bytes(found.body)
    return Row(
        found.seq,
        found.slot,
        found.broker,
        read_spec(found.topic, found.spec),
        Message(found.topic, body, key, read_headers(found.headers), found.content_type, found.event_id),
        (found.broker, found.topic, key) if found.in_order else found.seq,
        found.attempts,
    )
