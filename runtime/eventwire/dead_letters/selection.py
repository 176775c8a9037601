"""Which dead letters are meant."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from eventwire.dead_letters.letter import Letter


@dataclass(frozen=True, slots=True)
class Selection:
    """Dead letters that match everything given; of each collection one. Given nothing, all.

    `errors` are class names. `since` and `until` look at when a letter was set aside and must have a time zone; a
    letter that does not say when matches neither. `limit`: at most so many, the oldest first.
    """

    ids: Collection[str] = ()
    types: Collection[str] = ()
    keys: Collection[bytes] = ()
    errors: Collection[str] = ()
    since: datetime | None = None
    until: datetime | None = None
    limit: int | None = None

    @property
    def everything(self) -> bool:
        """Whether nothing was given but perhaps a limit."""
        return not (self.ids or self.types or self.keys or self.errors or self.since or self.until)

    def matches(self, letter: Letter) -> bool:
        """Whether the letter is meant, whatever the limit."""
        return (
            (not self.ids or letter.id in self.ids)
            and (not self.types or letter.type in self.types)
            and (not self.keys or letter.message.key in self.keys)
            and (not self.errors or letter.error in self.errors)
            and self._in_time(letter)
        )

    def _in_time(self, letter: Letter) -> bool:
        if self.since is None and self.until is None:
            return True
        if (when := letter.time) is None:
            return False
        return (self.since is None or when >= self.since) and (self.until is None or when < self.until)
