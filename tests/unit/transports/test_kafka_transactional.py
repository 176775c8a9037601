import asyncio
from collections import deque
from collections.abc import Sequence
from typing import cast

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, OffsetAndMetadata, TopicPartition

from eventwire.errors import BrokerError, PublishFailed
from eventwire.message import Message, Receipt
from eventwire.transport import TopicSpec
from eventwire.transports.kafka.assignment import Hooks, KafkaDelivery
from eventwire.transports.kafka.notes import Note, Suspicion, read_note
from eventwire.transports.kafka.suspects import Suspects
from eventwire.transports.kafka.transaction import Fenced, Transactions
from eventwire.transports.kafka.transactional import (
    BATCH,
    TransactionalKafkaDelivery,
    TransactionalPartition,
    identity,
)
from tests.unit.transports.test_kafka_assignment import FakeClient, Record

_PARTITION = TopicPartition("t", 3)


class Scripted(Transactions):
    """Transactions whose ends the test decides."""

    def __init__(self) -> None:
        self.commits: list[OffsetAndMetadata] = []
        self.aborts = 0
        self.renewals = 0
        self.outcomes: deque[bool | Exception] = deque()
        self.published: list[bytes | None] = []

    async def publish(self, topic: TopicSpec, message: Message) -> Receipt:
        self.published.append(message.body)
        return Receipt(topic.name, message.id, 0, 0)

    async def commit(self, partition: TopicPartition, at: OffsetAndMetadata) -> bool:
        assert partition == _PARTITION
        outcome = self.outcomes.popleft() if self.outcomes else True
        if isinstance(outcome, Exception):
            raise outcome
        if outcome:
            self.commits.append(at)
        return outcome

    async def abort(self) -> None:
        self.aborts += 1
        outcome = self.outcomes.popleft() if self.outcomes else True
        if isinstance(outcome, Exception):
            raise outcome

    async def renew(self) -> None:
        self.renewals += 1


class Partition:
    """A transactional partition on a fake client."""

    def __init__(self, suspicion: Suspicion | None = None) -> None:
        self.transactions = Scripted()
        self.at: OffsetAndMetadata | None = None
        self.lost: list[str] = []
        self.given: list[KafkaDelivery] = []
        self.client = FakeClient()
        self.assigned = TransactionalPartition(
            self.transactions,
            self.stands,
            self.lost.append,
            cast("AIOKafkaConsumer", self.client),
            _PARTITION,
            "t",
            position=0,
            committed=None,
            max_uncommitted=1000,
            suspicion=suspicion or Suspicion("me"),
            hooks=Hooks(self.given.append, lambda: None, lambda: None),
        )

    async def stands(self) -> OffsetAndMetadata | None:
        return self.at

    def take(self, *offsets: int) -> list[TransactionalKafkaDelivery]:
        records = cast("Sequence[ConsumerRecord]", [Record(offset) for offset in offsets])
        assert self.assigned.take(records, 1000) == []
        return self.handed_out()

    def handed_out(self) -> list[TransactionalKafkaDelivery]:
        given, self.given[:] = list(self.given), []
        return [each for each in given if isinstance(each, TransactionalKafkaDelivery)]

    async def ended(self) -> list[TransactionalKafkaDelivery]:
        """Let the transaction end; what is handed out then."""
        for _ in range(10):
            await asyncio.sleep(0)
        return self.handed_out()

    def commit(self) -> Note | None:
        due = self.assigned.due()
        if due is None:
            return None
        self.assigned.written(due)
        return read_note(due.metadata)


def told(deliveries: Sequence[TransactionalKafkaDelivery]) -> list[tuple[int | None, int, bool]]:
    return [(delivery.offset, delivery.failures, delivery.alone) for delivery in deliveries]


async def test_a_batch_is_committed_when_all_of_it_is_settled() -> None:
    partition = Partition()
    deliveries = partition.take(0, 1, 2)
    assert told(deliveries) == [(0, 0, False), (1, 0, False), (2, 0, False)]
    assert partition.assigned.due() is None, "the transaction has the position"
    for delivery in (deliveries[2], deliveries[0]):
        delivery.ack()
    await partition.ended()
    assert partition.transactions.commits == []
    deliveries[1].ack()
    await partition.ended()
    assert [at.offset for at in partition.transactions.commits] == [3]
    assert partition.assigned.position == 3
    assert not partition.client.paused


async def test_nothing_more_is_handed_out_before_a_batch_ended() -> None:
    partition = Partition()
    first = partition.take(*range(BATCH + 5))
    assert len(first) == BATCH
    assert partition.take(BATCH + 5) == []
    for delivery in first:
        delivery.ack()
    assert [delivery.offset for delivery in await partition.ended()] == list(range(BATCH, BATCH + 6))


async def test_what_fails_undoes_the_batch_and_counts_for_itself_alone() -> None:
    partition = Partition()
    one, two = partition.take(0, 1)
    error = ValueError()
    one.ack()
    two.fail(error)
    two.ack()
    (again,) = await partition.ended()
    assert partition.transactions.aborts == 1
    assert told([again]) == [(0, 0, True)]
    again.ack()
    (again,) = await partition.ended()
    assert told([again]) == [(1, 1, True)]
    assert again.error is error
    again.fail(error, counted=False)
    (again,) = await partition.ended()
    assert told([again]) == [(1, 1, True)]
    again.ack()
    await partition.ended()
    assert [at.offset for at in partition.transactions.commits] == [1, 2]
    assert not partition.assigned.failed
    assert told(partition.take(2, 3)) == [(2, 0, False), (3, 0, False)]


@pytest.mark.parametrize("came_about", [True, False])
async def test_after_a_commit_that_nobody_knows_of_the_broker_is_asked(came_about: bool) -> None:
    partition = Partition()
    (delivery,) = partition.take(0)
    partition.transactions.outcomes.append(False)
    partition.at = OffsetAndMetadata(1 if came_about else 0, "")
    delivery.ack()
    again = await partition.ended()
    assert partition.transactions.renewals == 1
    assert told(again) == ([] if came_about else [(0, 0, True)])
    assert partition.assigned.position == (1 if came_about else 0)


async def test_an_abort_that_fails_is_made_by_another_producer() -> None:
    partition = Partition()
    (delivery,) = partition.take(0)
    partition.transactions.outcomes.append(BrokerError("broken"))
    delivery.release()
    assert told(await partition.ended()) == [(0, 0, True)]
    assert partition.transactions.renewals == 1


async def test_who_is_fenced_lets_go_without_an_error() -> None:
    partition = Partition()
    (delivery,) = partition.take(0)
    partition.transactions.outcomes.append(Fenced("epoch"))
    delivery.ack()
    assert await partition.ended() == []
    assert partition.lost == ["a transaction of t partition 3 was fenced: epoch"]
    assert partition.transactions.renewals == 0, "it would fence who has the partition by right"


async def test_a_suspect_is_alone_in_its_transaction() -> None:
    partition = Partition(Suspicion("me", 2))
    partition.commit()
    for offset in (0, 1):
        (delivery,) = partition.take(0, 1, 2, 3) if offset == 0 else partition.handed_out()
        assert (delivery.offset, delivery.deaths, delivery.alone) == (offset, 0, True)
        delivery.ack()
        following = await partition.ended()
        partition.given += following
    assert told(following) == [(2, 0, False), (3, 0, False)], "the window is past"
    assert [read_note(at.metadata) for at in partition.transactions.commits] == [
        Note(clean=False, by="me", until=2),
        Note(clean=False, by="me"),
    ]


async def test_a_strict_suspect_waits_for_its_turn_and_the_broker_knows_before() -> None:
    partition = Partition(Suspicion("me", 2, 0, 1, strict=True))
    suspects = Suspects({_PARTITION: partition.assigned}, lambda: None)
    assert partition.take(0, 1, 2, 3) == []
    assert suspects.next(0) is None
    assert partition.commit() == Note(clean=False, by="me", until=2, deaths=1, strict=True)
    delivery = suspects.next(0)
    assert isinstance(delivery, TransactionalKafkaDelivery)
    assert (delivery.offset, delivery.deaths, delivery.alone) == (0, 1, True)
    assert partition.assigned.unsettled == 1
    assert not partition.assigned.recorded, "the transaction is about to move it"
    delivery.fail(ValueError())
    assert await partition.ended() == []
    assert suspects.next(0) is not None, "undone: the broker's note is as it was"
    assert partition.assigned.held is None
    await partition.assigned.conclude()
    assert suspects.next(0) is not None
    await partition.assigned.conclude()
    again = suspects.next(0)
    assert again is not None
    again.ack()
    assert await partition.ended() == []
    assert read_note(partition.transactions.commits[0].metadata) == Note(
        clean=True, by="me", until=2, strict=True
    )
    assert suspects.next(0) is None
    assert partition.commit() == Note(clean=False, by="me", until=2, strict=True)
    last = suspects.next(0)
    assert last is not None
    last.ack()
    assert told(await partition.ended()) == [(2, 0, False), (3, 0, False)], "the window is past"
    assert read_note(partition.transactions.commits[1].metadata) == Note(clean=False, by="me")


async def test_giving_up_undoes_what_is_in_flight() -> None:
    partition = Partition()
    one, two = partition.take(0, 1)
    one.ack()
    partition.assigned.leaving = True
    await partition.assigned.conclude()
    assert partition.transactions.aborts == 1
    assert partition.handed_out() == []
    note = partition.commit()
    assert note is not None
    assert note.clean
    two.ack()
    await partition.ended()
    assert partition.transactions.commits == []


async def test_only_an_open_delivery_publishes() -> None:
    partition = Partition()
    (delivery,) = partition.take(0)
    message = Message("out", b"x", b"k")
    await delivery.publish(TopicSpec("out"), message)
    delivery.ack()
    with pytest.raises(PublishFailed, match="settled"):
        await delivery.publish(TopicSpec("out"), message)
    assert partition.transactions.published == [b"x"]
    await partition.ended()


def test_every_partition_of_every_group_has_its_own_id() -> None:
    assert identity("app", "g", _PARTITION) == "app.g.t.3"
