"""One dead letter, and what it says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from time import time

from eventwire.errors import Undecodable
from eventwire.message import Message
from eventwire.middleware.dead_letter import POINTER
from eventwire.middleware.delayed import ORIGIN
from eventwire.wire import structured
from eventwire.wire.attributes import rfc3339
from eventwire.wire.content import media_type

REPLAYED = "eventwire_replayed"
"""Header of a replayed event: when it was replayed."""
_DEAD = "eventwire_dead_"
_OURS = (_DEAD, "eventwire_retry_", REPLAYED)


@dataclass(frozen=True)
class Letter:
    """A dead letter as it stands in its topic: the original message with `eventwire_dead_*` headers.

    `prefixes` are what CloudEvents attributes are prefixed with on its broker. What the headers do not say is empty or
    None: anybody may have published there.
    """

    message: Message
    prefixes: Sequence[str] = ("ce_",)

    @property
    def id(self) -> str:
        """The event's id; empty when it has none."""
        return self.message.id or self._attribute("id") or ""

    @cached_property
    def type(self) -> str | None:
        """The CloudEvents type that the message states."""
        return self._attribute("type")

    @property
    def error(self) -> str:
        """The class name of what its handling failed with."""
        return self.said("error")

    @property
    def reason(self) -> str:
        """What that error said."""
        return self.said("reason")

    @property
    def attempts(self) -> int | None:
        """How often it was tried."""
        text = self.said("attempts")
        return int(text) if text.isdecimal() and len(text) < 10 else None  # noqa: PLR2004  ten digits are no count

    @property
    def origin(self) -> str:
        """Where it came from: topic, partition and offset as far as they are known, with colons in between."""
        return ":".join(filter(None, (self.said("topic"), self.said("partition"), self.said("offset"))))

    @cached_property
    def time(self) -> datetime | None:
        """When it was set aside."""
        try:
            when = datetime.fromisoformat(self.said("time"))
        except ValueError:
            return None
        return when if when.tzinfo else when.replace(tzinfo=UTC)

    @property
    def pointer(self) -> bool:
        """Whether the body is not here, for it was too large: `origin` says where it is."""
        return media_type(self.message.content_type) == POINTER

    def said(self, name: str) -> str:
        """The text of a header `eventwire_dead_NAME`; empty for none."""
        return (self.message.header(_DEAD + name) or b"").decode(errors="replace")

    def replayed(self, topic: str, *, to_source: bool) -> Message:
        """The event as it is published again: body, key, id and its own headers, and when it was replayed."""
        message = self.message
        kept = [header for header in message.headers if not header[0].startswith(_OURS)]
        kept.append((REPLAYED, rfc3339(time())))
        if not to_source:
            kept.append((ORIGIN, f"{self.said('partition')}:{self.said('offset')}".encode()))
        return replace(message, topic=topic, headers=tuple(kept), id=self.id)

    def _attribute(self, name: str) -> str | None:
        for prefix in self.prefixes:
            if (value := self.message.header(prefix + name)) is not None:
                return value.decode(errors="replace")
        value = self._structured.get(name)
        return None if value is None else value.decode(errors="replace")

    @cached_property
    def _structured(self) -> dict[str, bytes]:
        media = media_type(self.message.content_type)
        if not media.startswith("application/cloudevents") or self.message.body is None:
            return {}
        try:
            return structured.read(media, self.message.body)[0]
        except Undecodable:
            return {}
