"""What is durably known of the messages that may have ended a process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from eventwire.message import Message
from eventwire.transports.amqp import codec

_MOST_COUNTED = 100
"""Messages whose deaths a mark remembers; those charged last."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What is known of the suspects of one queue, by their fingerprints.

    `handed` is being handled by `owner`, with no other suspect beside it, and where it is `alone` with nothing at all:
    should the owner be gone, that is one more of its `deaths`, else it is known there with what it had, be it none.
    `clean` was given back by an owner that ended as it should.
    """

    owner: str = ""
    handed: str | None = None
    deaths: Mapping[str, int] = field(default_factory=dict[str, int])
    clean: frozenset[str] = frozenset()
    alone: bool = False

    def inherited(self, heir: str) -> Mark:
        """The mark as who reads next has it: what a gone owner handled alone is charged, what was clean is taken."""
        deaths = dict(self.deaths)
        if self.handed is not None and self.owner != heir:
            deaths[self.handed] = deaths.pop(self.handed, 0) + self.alone
        return Mark(heir, None, dict(list(deaths.items())[-_MOST_COUNTED:]))

    def without(self, fingerprint: str) -> Mark:
        """The mark after a suspect was settled."""
        return replace(
            self, deaths={known: count for known, count in self.deaths.items() if known != fingerprint}
        )

    def encoded(self) -> bytes:
        """As the body of a message."""
        return json.dumps(
            {
                "owner": self.owner,
                "handed": self.handed,
                "alone": self.alone,
                "deaths": dict(self.deaths),
                "clean": sorted(self.clean),
            }
        ).encode()

    @classmethod
    def decoded(cls, body: bytes) -> Mark:
        """Back from a message. What cannot be read is no mark: nobody is charged."""
        try:
            read: dict[str, Any] = json.loads(body)
            deaths = {str(known): int(count) for known, count in read["deaths"].items()}
            clean = frozenset(map(str, read["clean"]))
            return cls(str(read["owner"]), read["handed"], deaths, clean, bool(read["alone"]))
        except (ValueError, LookupError, TypeError, AttributeError):
            return cls()


def fingerprint(message: Message) -> str:
    """What tells a message from others when it comes again, whichever queue it comes by."""
    headers = sorted(pair for pair in message.headers if pair[0] not in codec.BROKERS_OWN)
    identity = repr((message.topic, message.id, message.key, message.content_type, headers))
    return blake2b(
        message.body or b"", key=blake2b(identity.encode(errors="replace")).digest(), digest_size=8
    ).hexdigest()
