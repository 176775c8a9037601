"""Sabotage of what is done while the broker is away."""

# pyright: reportPrivateUsage=false
# Sabotage reaches inside.

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from eventwire.deadline import Deadlines
from eventwire.errors import PublishError, PublishUnknown
from eventwire.message import Message, Receipt
from eventwire.transport import TopicSpec
from eventwire.transports.amqp import publisher as amqp
from eventwire.transports.amqp.consumer import AmqpConsumer
from eventwire.transports.sqlite import SqliteTransport
from tests.chaos.mutants import mutant

_KILLED = "tests/chaos/test_outage.py::test_a_killed_broker_loses_nothing[amqp]"
_FROZEN = "tests/chaos/test_outage.py::test_a_frozen_broker_keeps_nobody_waiting[kafka]"
_WRITER = "tests/chaos/test_outage.py::test_a_writer_killed_in_its_transaction_loses_nothing[sqlite]"
_NETWORK = "tests/chaos/test_proxy.py::test_a_bad_network_loses_nothing[amqp]"


@mutant(bar=_FROZEN, sees="hangs|late")
def a_publish_has_no_deadline() -> None:
    """Nobody looks at the clock."""

    def sabotaged(*_: object) -> None:
        return

    Deadlines.enter = sabotaged  # type: ignore[assignment, method-assign]


@mutant(bar=_KILLED, sees="lost: ")
def a_lost_connection_counts_as_a_confirm() -> None:
    """What RabbitMQ had not confirmed when its connection ended is taken to be there."""
    outcome = amqp._outcome

    async def sabotaged(topic: TopicSpec, sent: Any) -> Receipt | PublishError:
        found = await outcome(topic, sent)
        return Receipt(topic.name, sent.message.id) if isinstance(found, PublishUnknown) else found

    amqp._outcome = sabotaged


@mutant(bar=_WRITER, sees="lost: ")
def sqlite_confirms_before_it_commits() -> None:
    """Receipts are given out while the transaction waits."""
    write = SqliteTransport._write
    writing: set[asyncio.Task[Any]] = set()

    async def sabotaged(
        self: SqliteTransport, topic: TopicSpec, messages: Sequence[Message]
    ) -> Sequence[Receipt | PublishError]:
        task = asyncio.create_task(write(self, topic, messages))
        writing.add(task)
        return [Receipt(topic.name, message.id) for message in messages]

    SqliteTransport._write = sabotaged  # type: ignore[method-assign]


@mutant(bar=_NETWORK, sees="not healed")
def a_lost_consumer_stays_lost() -> None:
    """Nobody rebuilds what RabbitMQ's consumer lost."""

    async def sabotaged(_: AmqpConsumer) -> None:
        await asyncio.Event().wait()

    AmqpConsumer._keep = sabotaged  # type: ignore[assignment, method-assign]
