"""Sabotage of what becomes of events that cannot be handled."""

# Sabotage goes where nobody else does.
# pyright: reportPrivateUsage=false
from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from eventwire.context import Context
from eventwire.log import HeldPartition, LogDelivery
from eventwire.message import Headers, Message
from eventwire.middleware import dead_letter as module
from tests.chaos.mutants import mutant

Count: TypeAlias = Callable[[HeldPartition, int], int]
_POISON = "tests/chaos/test_poison.py::test_poison_reaches_the_dead_letter_and_nothing_else_does[sqlite]"


@mutant(bar=_POISON, sees="headers are missing")
def dead_letter_without_headers() -> None:
    """The dead letter has the reasons, and not the headers of the original."""
    module._without_ours = _nothing


def _nothing(headers: Headers) -> Headers:
    return headers[:0]


@mutant(bar=_POISON, sees="another body")
def dead_letter_of_other_bytes() -> None:
    """The dead letter's body is not what was published."""
    whole = module.dead_letter

    def sabotaged(context: Context, error: Exception, topic: str) -> Message:
        letter = whole(context, error, topic)
        letter.body = (letter.body or b"")[:-1]
        return letter

    module.dead_letter = sabotaged


@mutant(bar=_POISON, sees=r"dead letter of \S+: attempts")
def dead_letter_without_attempts() -> None:
    """The dead letter does not say how often the event was tried."""
    reasons = module._reasons

    def sabotaged(context: Context, error: Exception) -> Headers:
        return tuple(header for header in reasons(context, error) if not header[0].endswith("_attempts"))

    module._reasons = sabotaged


@mutant(bar=_POISON, sees="poison events have killed")
def deaths_not_counted() -> None:
    """No delivery says that processes died of it."""
    _deaths_are(lambda held, offset: 0)


@mutant(bar=_POISON, sees="poison events have killed")
def suspect_mode_off() -> None:
    """After a death everything is handed out at once again, so that nobody can be charged."""
    HeldPartition.suspected = property(lambda self: False)  # type: ignore[method-assign,assignment]


@mutant(bar=_POISON, sees="healthy events in the dead letter|in the dead letter without reason")
def neighbours_are_charged() -> None:
    """Whatever was in flight when a process died counts as what it died of, as a broker's delivery count does."""
    _deaths_are(lambda held, offset: held.attempts.get(offset, 1) - 1)
    suspect_mode_off()


def _deaths_are(count: Count) -> None:
    def sabotaged(self: HeldPartition, message: Message, offset: int) -> LogDelivery:
        return LogDelivery(self, message, offset, self._attempt(offset), count(self, offset))

    HeldPartition._delivery = sabotaged  # type: ignore[method-assign]
