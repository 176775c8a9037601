"""What travels: the broker's message, and the broker's word that it has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Headers: TypeAlias = tuple[tuple[str, bytes], ...]
"""Pairs in the order they were written. Names may repeat (Kafka allows it); values are bytes, text is UTF-8."""

_SHOWN = 20
"""Headers whose names a message's repr tells."""


@dataclass(slots=True, repr=False)
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

    def __repr__(self) -> str:
        """Tell it apart, showing no value: of body, key and headers nobody knows here which are secret."""
        body = "no body" if self.body is None else f"body of {len(self.body)} bytes"
        key = "no key" if self.key is None else f"key of {len(self.key)} bytes"
        names = ", ".join(name for name, _ in self.headers[:_SHOWN])
        more = f" and {len(self.headers) - _SHOWN} more" if len(self.headers) > _SHOWN else ""
        return f"<Message {self.id!r} of {self.topic}, {self.content_type}, {key}, {body}, headers: {names}{more}>"

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
