"""What a commit's metadata tells of its offset: whether its reader ended cleanly, and how many died of it. No I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import cast

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Note:
    """Written with every commit, about the committed offset."""

    clean: bool
    """Nobody is handling anything from this offset on. If it is not so and its writer is gone, the writer died."""
    by: str
    """The consumer that wrote it: what it finds again after a rebalance is no death, since it lives."""
    until: int | None = None
    """Suspect mode: below this offset everything is handed out alone. None: no process died lately."""
    deaths: int = 0
    """How many processes died while they handled the committed offset and nothing else of any partition."""
    strict: bool = False
    """A second process died in suspect mode: what is handed out has nothing beside it in its process."""

    def text(self) -> str:
        """The metadata; some 60 bytes, of the 4,096 that brokers take."""
        said = {"v": _VERSION, "clean": self.clean, "by": self.by}
        if self.until is not None:
            said |= {"until": self.until, "deaths": self.deaths, "strict": self.strict}
        return json.dumps(said, separators=(",", ":"))


def read_note(metadata: str | None) -> Note | None:
    """The note, or None for metadata that Eventwire did not write, or not in a form that this version reads."""
    try:
        said: object = json.loads(metadata or "null")
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    fields = cast("dict[object, object]", said)
    match (
        fields.get("v"),
        fields.get("clean"),
        fields.get("by"),
        fields.get("until"),
        fields.get("deaths", 0),
        fields.get("strict", False),
    ):
        case 1, bool(clean), str(by), None, int(), bool():
            return Note(clean, by)
        case 1, bool(clean), str(by), int(until), int(deaths), bool(strict) if deaths >= 0:
            return Note(clean, by, until, deaths, strict)
        case _:
            return None


def accuses(note: Note | None, me: str) -> bool:
    """Whether the note's writer died with several offsets in flight, or may have: how far they reached is unknown."""
    return note is not None and not note.clean and note.by != me and note.until is None


class Suspicion:
    """What one assignment of one partition knows of deaths, and what its commits have to tell.

    Out of suspect mode many offsets are in flight, and a death accuses none of them: it begins suspect mode, in which
    one offset of the partition is handled at a time. A death there proves nothing either, since other partitions are at
    work, but makes it strict: from then on one offset of the whole member is `alone`, and a death counts against it.
    """

    __slots__ = ("_at", "_clean", "_deaths", "_me", "_usual", "alone", "strict", "until")

    def __init__(
        self, me: str, until: int | None = None, at: int = -1, deaths: int = 0, *, strict: bool = False
    ) -> None:
        self._me = me
        self._usual = Note(clean=False, by=me).text()
        self._clean = Note(clean=True, by=me).text()
        self._at = at
        self._deaths = deaths
        self.until = until
        """The end of suspect mode; None when everything is as usual."""
        self.strict = strict
        self.alone: int | None = None
        """In strict suspect mode the offset that is, or is about to be, handled with nothing beside it."""

    @classmethod
    def resumed(cls, note: Note | None, me: str, position: int, *, window: int, end: int) -> Suspicion:
        """How it goes on from the group's committed `position` and its note.

        `window` is how many offsets may be in flight, `end` the log's end: what was in flight is below both.
        """
        if note is None:
            return cls(me)
        if accuses(note, me):
            until = min(position + window, end)
            return cls(me, until if until > position else None)
        if note.until is None or note.until <= position:
            return cls(me)
        died = not note.clean and note.by != me
        charged = died and note.strict
        return cls(me, note.until, position, note.deaths + charged, strict=note.strict or died)

    def deaths(self, offset: int) -> int:
        """How many processes died of this offset."""
        return self._deaths if self.until is not None and offset == self._at else 0

    def ends_at(self, offset: int) -> bool:
        """Whether suspect mode is over once everything below `offset` is settled."""
        return self.until is not None and offset >= self.until

    def allows_many(self, written: str) -> bool:
        """Whether this metadata, at the broker, lets many offsets be in flight."""
        return written == self._usual

    def note(self, position: int, *, leaving: bool) -> str:
        """What a commit of `position` has to tell; `leaving` when the partition is given up and nothing runs."""
        if self.until is None or position >= self.until:
            return self._clean if leaving else self._usual
        clean = leaving or (self.strict and self.alone is None)
        return Note(clean, self._me, self.until, self.deaths(position), self.strict).text()
