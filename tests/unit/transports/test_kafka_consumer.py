import asyncio
from collections.abc import AsyncGenerator, Collection
from typing import cast

import pytest
from aiokafka import ConsumerRebalanceListener, ConsumerRecord, OffsetAndMetadata
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import (
    CommitFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from typing_extensions import override

from eventwire.errors import BrokerError, Closed, OffsetOutOfRange
from eventwire.policy import Start
from eventwire.transport import Subscription, TopicPartition, TopicSpec
from eventwire.transports.kafka import consumer
from eventwire.transports.kafka.client import Client
from eventwire.transports.kafka.consumer import KafkaConsumer

_ZERO, _ONE = KafkaPartition("t", 0), KafkaPartition("t", 1)
_Polled = dict[KafkaPartition, list[ConsumerRecord]]


class Record:
    """What is read of a record."""

    key, value, headers = b"k", b"v", ()

    def __init__(self, offset: int) -> None:
        self.offset = offset


class Scripted(Client):
    """A client whose polls the test answers."""

    def __init__(self) -> None:
        super().__init__(group_id="g")
        self.polls: asyncio.Queue[_Polled | Exception] = asyncio.Queue()
        self.commits: list[dict[KafkaPartition, int]] = []
        self.refusal: KafkaError | None = None
        self.answering = asyncio.Event()
        self.answering.set()
        self.group_at: dict[KafkaPartition, int] = {}
        self.sought: dict[KafkaPartition, int] = {}
        self.listener: ConsumerRebalanceListener | None = None
        self.dead: Exception | None = None

    @override
    def subscribe(
        self,
        topics: list[str] | tuple[str, ...] = (),
        pattern: str | None = None,
        listener: ConsumerRebalanceListener | None = None,
    ) -> None:
        assert pattern == "^(?:t)$"
        self.listener = listener

    @override
    async def getmany(
        self, *partitions: KafkaPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> _Polled:
        answer = await self.polls.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    @override
    async def commit(self, offsets: dict[KafkaPartition, OffsetAndMetadata] | None = None) -> None:
        await asyncio.sleep(0)
        await self.answering.wait()
        if self.refusal:
            raise self.refusal
        self.commits.append({partition: at.offset for partition, at in (offsets or {}).items()})

    @override
    async def committed(self, partition: KafkaPartition) -> int | None:
        if self.refusal:
            raise self.refusal
        return self.group_at.get(partition)

    @override
    async def beginning_offsets(self, partitions: list[KafkaPartition]) -> dict[KafkaPartition, int]:
        return dict.fromkeys(partitions, 10)

    @override
    async def end_offsets(self, partitions: list[KafkaPartition]) -> dict[KafkaPartition, int]:
        return dict.fromkeys(partitions, 90)

    @override
    def seek(self, partition: KafkaPartition, offset: int) -> None:
        self.sought[partition] = offset

    @override
    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return {0, 1}

    @override
    def fetching_ended(self) -> BaseException | None:
        return self.dead

    def answer(self, *offsets: int) -> None:
        """Let the next poll bring records of partition 0."""
        self.polls.put_nowait({_ZERO: [cast("ConsumerRecord", Record(offset)) for offset in offsets]})


class Member:
    """A consumer on a scripted client, with the test in the coordinator's place."""

    def __init__(self, start: Start = Start.EARLIEST) -> None:
        self.client = Scripted()
        self.revoked: list[Collection[TopicPartition]] = []
        self.finish = asyncio.Event()
        self.finish.set()
        self.fault: Exception | None = None
        subscription = Subscription(
            "g", (TopicSpec("t"),), start, commit_interval=60, on_revoke=self.on_revoke
        )
        self.consumer = KafkaConsumer(self.client, subscription, drain=0.01)

    async def on_revoke(self, partitions: Collection[TopicPartition]) -> None:
        self.revoked.append(partitions)
        await self.finish.wait()
        if self.fault:
            raise self.fault

    async def assign(self, *partitions: KafkaPartition) -> None:
        assert self.client.listener
        await (self.client.listener.on_partitions_assigned(set(partitions)) or asyncio.sleep(0))

    async def revoke(self) -> None:
        assert self.client.listener
        await (self.client.listener.on_partitions_revoked(set()) or asyncio.sleep(0))


@pytest.fixture
async def member() -> AsyncGenerator[Member]:
    made = Member()
    await made.consumer.join()
    yield made
    made.client.polls.put_nowait({})
    await made.consumer.close()


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_member_begins_where_the_group_stands_or_its_start_says(member: Member) -> None:
    member.client.group_at = {_ZERO: 5}
    await member.assign(_ZERO, _ONE)
    assert member.client.sought == {_ZERO: 5, _ONE: 10}
    await member.consumer.flush()
    assert member.client.commits == [{_ONE: 10}], "a new group's beginning is kept"


async def test_a_latest_member_has_joined_when_it_knows_the_end() -> None:
    member = Member(Start.LATEST)
    joining = asyncio.create_task(member.consumer.join())
    await turns()
    assert not joining.done()
    await member.assign(_ZERO)
    await joining
    assert member.client.sought == {_ZERO: 90}
    await member.consumer.close()


async def test_acks_are_committed_on_flush_and_only_when_they_moved_something(member: Member) -> None:
    member.client.group_at = {_ZERO: 0}
    await member.assign(_ZERO)
    member.client.answer(0, 1, 2)
    deliveries = await member.consumer.fetch(10)
    deliveries[1].ack()
    await member.consumer.flush()
    deliveries[0].ack()
    await member.consumer.flush()
    await member.consumer.flush()
    assert member.client.commits == [{_ZERO: 2}]


async def test_a_poll_that_fails_ends_the_consumer(member: Member) -> None:
    await member.assign(_ZERO)
    member.client.polls.put_nowait(KafkaError("corrupt"))
    for _ in range(2):
        with pytest.raises(BrokerError, match="cannot read on: KafkaError: corrupt") as failure:
            await member.consumer.fetch(1)
        assert isinstance(failure.value.__cause__, KafkaError)


async def test_a_poll_before_the_positions_are_known_is_no_failure(member: Member) -> None:
    member.client.polls.put_nowait(NoOffsetForPartitionError(_ZERO))
    member.client.answer(3)
    fetching = asyncio.create_task(member.consumer.fetch(1))
    await turns()
    await member.assign(_ZERO)
    assert member.client.sought == {_ZERO: 10}, "and what came too early is read again"
    member.client.answer(10)
    assert [delivery.offset for delivery in await fetching] == [10]


async def test_an_offset_out_of_range_is_named_each_time(member: Member) -> None:
    await member.assign(_ZERO)
    for _ in range(2):
        member.client.polls.put_nowait(OffsetOutOfRangeError({_ZERO: 7}))
        with pytest.raises(OffsetOutOfRange, match="offset 7 of `t` partition 0"):
            await member.consumer.fetch(1)


async def test_a_dead_fetching_task_is_found(member: Member) -> None:
    await member.assign(_ZERO)
    member.client.dead = KafkaError("gone")
    member.client.polls.put_nowait({})
    with pytest.raises(BrokerError, match="gone"):
        await member.consumer.fetch(1)


async def test_what_was_acked_while_giving_up_is_committed_and_later_acks_are_not(member: Member) -> None:
    member.client.group_at = {_ZERO: 0}
    await member.assign(_ZERO)
    member.client.answer(0, 1)
    first, second = await member.consumer.fetch(10)
    member.finish.clear()
    revoking = asyncio.create_task(member.revoke())
    await turns()
    first.ack()
    member.finish.set()
    await revoking
    second.ack()
    await member.consumer.flush()
    assert [list(partitions) for partitions in member.revoked] == [[TopicPartition("t", 0)]]
    assert member.client.commits == [{_ZERO: 1}]


async def test_a_poll_that_ended_before_the_partitions_went_is_not_handed_out(member: Member) -> None:
    await member.assign(_ZERO)
    fetching = asyncio.create_task(member.consumer.fetch(1))
    await turns()
    fetching.cancel()
    member.client.answer(10)
    await turns()
    await member.revoke()
    await member.assign(_ZERO)
    member.client.answer(20)
    assert [delivery.offset for delivery in await member.consumer.fetch(1)] == [20]


async def test_a_cancelled_fetch_leaves_its_poll_to_the_next(member: Member) -> None:
    await member.assign(_ZERO)
    fetching = asyncio.create_task(member.consumer.fetch(1))
    await turns()
    fetching.cancel()
    member.client.answer(10)
    await turns()
    assert [delivery.offset for delivery in await member.consumer.fetch(1)] == [10]


async def test_what_is_released_while_giving_up_is_not_handed_out(member: Member) -> None:
    await member.assign(_ZERO)
    member.client.answer(10)
    (delivery,) = await member.consumer.fetch(1)
    member.finish.clear()
    revoking = asyncio.create_task(member.revoke())
    await turns()
    delivery.release()
    fetching = asyncio.create_task(member.consumer.fetch(1))
    await turns()
    assert not fetching.done()
    member.finish.set()
    await revoking
    await turns()
    assert not fetching.done()
    fetching.cancel()


async def test_a_subscriber_that_does_not_let_go_is_cancelled(
    member: Member, caplog: pytest.LogCaptureFixture
) -> None:
    await member.assign(_ZERO)
    member.finish.clear()
    await member.revoke()
    assert "did not end within" in caplog.text


async def test_a_subscriber_that_fails_to_let_go_is_told(member: Member) -> None:
    await member.assign(_ZERO)
    member.fault = ValueError("lanes")
    await member.revoke()
    with pytest.raises(BrokerError, match="lanes"):
        await member.consumer.fetch(1)


async def test_a_commit_of_a_lost_partition_is_counted_and_not_fatal(member: Member) -> None:
    await member.assign(_ZERO)
    member.client.refusal = CommitFailedError()
    await member.consumer.flush()
    assert member.consumer.lost_commits == 1
    member.client.refusal = None
    await member.consumer.flush()
    assert member.client.commits == [{_ZERO: 10}]


async def test_a_commit_that_is_refused_is_an_error(member: Member) -> None:
    await member.assign(_ZERO)
    member.client.refusal = GroupAuthorizationFailedError("g")
    with pytest.raises(BrokerError, match="cannot commit"):
        await member.consumer.flush()


async def test_a_flush_that_is_not_answered_is_an_error_and_can_be_repeated(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    await member.assign(_ZERO)
    member.client.answering.clear()
    monkeypatch.setattr(consumer, "_FLUSH_WITHIN", 0)
    with pytest.raises(BrokerError, match="no answer from Kafka within 0 s"):
        await member.consumer.flush()
    monkeypatch.undo()
    member.client.answering.set()
    await member.consumer.flush()
    assert member.client.commits == [{_ZERO: 10}]


async def test_a_group_whose_positions_are_not_told_cannot_go_on(member: Member) -> None:
    member.client.refusal = GroupAuthorizationFailedError("g")
    await member.assign(_ZERO)
    with pytest.raises(BrokerError, match="does not tell where group `g` stands"):
        await member.consumer.fetch(1)
    member.client.refusal = None


async def test_closing_ends_a_waiting_fetch(member: Member) -> None:
    await member.assign(_ZERO)
    fetching = asyncio.create_task(member.consumer.fetch(1))
    await turns()
    member.client.polls.put_nowait({})
    await asyncio.gather(member.consumer.close(), member.consumer.close())
    with pytest.raises(Closed):
        await fetching
