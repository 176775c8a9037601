"""How far a replay or a purge got."""

from __future__ import annotations

from dataclasses import dataclass, field

_KEPT = 100


@dataclass(frozen=True, slots=True)
class Refusal:
    """A letter that stays where it is though it was meant, and why."""

    id: str
    why: str


@dataclass(slots=True)
class Progress:
    """Changes while the work goes on: keep it, and look at it when you like.

    `total` stood there when it began, `seen` were looked at, `matched` are meant, `done` were replayed or purged,
    `moved` were published again at the tail of the dead letter topic and stay there. `refused` stay though they were
    meant; `refusals` tell why, of the first 100.
    """

    total: int = 0
    seen: int = 0
    matched: int = 0
    done: int = 0
    moved: int = 0
    refused: int = 0
    refusals: list[Refusal] = field(default_factory=list[Refusal])

    def refuse(self, identity: str, why: str) -> None:
        """Count one."""
        self.refused += 1
        if len(self.refusals) < _KEPT:
            self.refusals.append(Refusal(identity, why))
