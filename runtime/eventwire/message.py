"""What travels: the broker's message, and the broker's word that it has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Headers: TypeAlias = tuple[tuple[str, bytes], ...]
"""Pairs in the order they were written. Names may repeat (Kafka allows it); values are bytes, text is UTF-8."""


@dataclass(slots=True)
class Message:
    """One message as a transport carries it; nothing in it is parsed.

    `topic` is the name on the broker. `body` is None for a tombstone. `key` is the ordering and partition key, None
    when the topic has none. `content_type` and `id` stand apart from `headers` because brokers have places of
    their own for them (AMQP properties); a transport without such a place writes `content_type` as header
    `content-type` and leaves `id` to the CloudEvents attributes. Treated as immutable once it is handed to a transport.
    """

    topic: str
    body: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    content_type: str | None = None
    id: str = ""

    def header(self, name: str) -> bytes | None:
        """The last header of that name, or None. Names are compared as written."""
        for known, value in reversed(self.headers):
            if known == name:
                return value
        return None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The broker's confirmation that it has the message.

    `partition` and `offset` are None where the broker does not tell them.
    """

    topic: str
    id: str
    partition: int | None = None
    offset: int | None = None
