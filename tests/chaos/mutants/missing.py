"""Sabotage of what is said about what is not there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eventwire.bus import Bus
from eventwire.transport import TopicSpec, Transport
from eventwire.transports.amqp import frames
from eventwire.transports.sqlite.schema import Identity
from tests.chaos.mutants import mutant

_DELETED = "tests/chaos/test_missing.py::test_what_is_deleted_in_use_is_told_and_mended"
_NEVER = "tests/chaos/test_missing.py::test_what_was_never_declared_is_told_at_once"


@mutant(bar=f"{_DELETED}[amqp-no_queues]", sees="lost: confirmed")
def unroutable_counts_as_published() -> None:
    """RabbitMQ is not asked to return what no queue takes."""
    publish = frames.publish

    def sabotaged(*args: Any, **options: Any) -> bytes:
        return publish(*args, **{**options, "mandatory": False})

    frames.publish = sabotaged


@mutant(bar=f"{_DELETED}[sqlite-no_file]", sees="lost: confirmed")
def a_database_that_is_gone_is_written_on() -> None:
    """Nobody compares the file that is open to the one that has its name."""

    def sabotaged(self: Identity, *_: object) -> None:
        return

    Identity.check = sabotaged  # type: ignore[method-assign]


@mutant(bar=f"{_NEVER}[sqlite]", sees="DID NOT RAISE")
def what_is_missing_is_made() -> None:
    """A bus declares whatever it is used for."""

    async def sabotaged(
        self: Bus, transport: Transport, specs: Sequence[TopicSpec], groups: Sequence[str]
    ) -> None:
        await transport.declare(specs, groups)

    Bus._provide = sabotaged  # type: ignore[method-assign]
