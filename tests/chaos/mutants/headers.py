"""Sabotage of what is done about headers."""

# pyright: reportPrivateUsage=false
# Sabotage reaches inside.

from __future__ import annotations

from typing import Any

from eventwire.context import Context
from eventwire.message import Headers
from eventwire.middleware import dead_letter
from eventwire.transports.amqp import codec
from tests.chaos.mutants import mutant

_FORGED = "tests/chaos/test_headers.py::test_forged_headers_skip_neither_retries_nor_the_dead_letter[memory-in_place]"
_HOSTILE = "tests/chaos/test_headers.py::test_hostile_headers_come_back_or_are_refused[amqp]"


@mutant(bar=_HOSTILE, sees="faults, first")
def routing_headers_go_out_as_they_are() -> None:
    """RabbitMQ gets headers named CC and BCC."""
    codec._ALIASES.clear()
    codec._REAL.clear()


@mutant(bar=_FORGED, sees="attempts other than")
def attempts_are_read_from_any_header() -> None:
    """The first attempt's number is what a header of the message says."""
    make = Context.__init__

    def sabotaged(self: Context, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        told = self.message.header("attempt") or b""
        self.attempt = int(told) if told.isdigit() else self.attempt

    Context.__init__ = sabotaged  # type: ignore[method-assign]


@mutant(bar=_FORGED, sees="told twice")
def foreign_dead_letter_headers_are_kept() -> None:
    """A dead letter keeps what the message said of an earlier one."""

    def sabotaged(headers: Headers) -> Headers:
        return headers

    dead_letter._without_ours = sabotaged
