"""Sabotage of how a worker reads what it is given."""

# pyright: reportPrivateUsage=false
# Sabotage reaches inside.

from __future__ import annotations

from eventwire.context import Context
from eventwire.middleware.base import HandleNext
from eventwire.middleware.dead_letter import DeadLetter
from eventwire.wire.reader import Reader
from tests.chaos.mutants import mutant

_FUZZ = "tests/chaos/test_fuzz.py::test_every_payload_is_handled_or_in_the_dead_letter[memory]"


@mutant(bar=_FUZZ, sees="unreadable, reached a handler")
def no_type_check_before_parsing() -> None:
    """A type that the topic does not have is taken for its first event."""
    find = Reader._event

    def sabotaged(self: Reader, type_name: bytes) -> object:
        return find(self, type_name if type_name in self._events else next(iter(self._events)))

    Reader._event = sabotaged  # type: ignore[assignment, method-assign]


@mutant(bar=_FUZZ, sees="settled")
def undecodable_is_swallowed() -> None:
    """What cannot be read is acknowledged and set aside nowhere."""

    async def sabotaged(self: DeadLetter, context: Context, call_next: HandleNext) -> None:
        try:
            await call_next(context)
        except Exception:  # noqa: BLE001 - sabotage
            return

    DeadLetter.on_handle = sabotaged  # type: ignore[method-assign]
