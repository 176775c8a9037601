import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping
from typing import cast

import pytest
from aiokafka import ConsumerRebalanceListener, ConsumerRecord, OffsetAndMetadata
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import (
    CommitFailedError,
    GroupAuthorizationFailedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
)
from typing_extensions import override

from eventwire.errors import BrokerError, Closed, OffsetOutOfRange, Unreachable
from eventwire.policy import Start
from eventwire.transport import Subscription, TopicPartition, TopicSpec
from eventwire.transports.kafka import consumer
from eventwire.transports.kafka import member as member_module
from eventwire.transports.kafka.client import Client, Reading
from eventwire.transports.kafka.consumer import KafkaConsumer
from eventwire.transports.kafka.notes import Note, read_note

_ZERO, _ONE, _TWO = (KafkaPartition("t", number) for number in range(3))
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
        self.notes: dict[KafkaPartition, Note | None] = {}
        self.refusal: KafkaError | None = None
        self.answering = asyncio.Event()
        self.answering.set()
        self.group_at: dict[KafkaPartition, OffsetAndMetadata] = {}
        self.sought: dict[KafkaPartition, int] = {}
        self.listener: ConsumerRebalanceListener | None = None
        self.dead: str | None = None
        self.at: dict[KafkaPartition, Reading] = {}
        self.ends = 0

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
        told = offsets or {}
        self.commits.append({partition: at.offset for partition, at in told.items()})
        self.notes |= {partition: read_note(at.metadata) for partition, at in told.items()}

    @override
    async def stands(
        self, partitions: Collection[KafkaPartition]
    ) -> Mapping[KafkaPartition, OffsetAndMetadata]:
        if self.refusal:
            raise self.refusal
        return {partition: at for partition, at in self.group_at.items() if partition in partitions}

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
    def pause(self, *partitions: KafkaPartition) -> None:
        pass

    @override
    def resume(self, *partitions: KafkaPartition) -> None:
        pass

    @override
    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return {0, 1}

    @override
    def ended(self) -> str | None:
        return self.dead

    @override
    def heartbeating(self) -> bool:
        return True

    @override
    def connected(self) -> bool:
        return True

    @override
    def reading(self, partition: KafkaPartition) -> Reading | None:
        return self.at.get(partition)

    @override
    async def end(self) -> None:
        self.ends += 1
        await super().end()

    def answer(self, *offsets: int, partition: KafkaPartition = _ZERO) -> None:
        """Let the next poll bring records of a partition."""
        self.polls.put_nowait({partition: [cast("ConsumerRecord", Record(offset)) for offset in offsets]})


class Bench:
    """A consumer on scripted clients, with the test in the coordinator's place."""

    def __init__(self, start: Start = Start.EARLIEST) -> None:
        self.clients: list[Scripted] = []
        self.unreachable: BrokerError | None = None
        self.revoked: list[Collection[TopicPartition]] = []
        self.finish = asyncio.Event()
        self.finish.set()
        self.fault: Exception | None = None
        self.subscription = Subscription(
            "g", (TopicSpec("t"),), start, commit_interval=60, on_revoke=self.on_revoke
        )

    async def connect(self) -> Client:
        await asyncio.sleep(0)
        if self.unreachable:
            raise self.unreachable
        self.clients.append(Scripted())
        return self.clients[-1]

    async def open(self) -> KafkaConsumer:
        self.consumer = await KafkaConsumer.open(
            self.connect, self.subscription, drain=0.01, session_timeout=30
        )
        return self.consumer

    @property
    def client(self) -> Scripted:
        return self.clients[-1]

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

    async def rebuilt(self, times: int = 1) -> None:
        """Until the member was made anew."""
        async with asyncio.timeout(10):
            while len(self.clients) < 1 + times:  # noqa: ASYNC110 - the consumer's own backoff
                await asyncio.sleep(0.01)


@pytest.fixture
async def member(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Bench]:
    monkeypatch.setattr(consumer, "_FIRST_PAUSE", 0.0)
    monkeypatch.setattr(consumer, "_WATCH", 0.01)
    made = Bench()
    await made.open()
    yield made
    for client in made.clients:
        client.answering.set()
        client.polls.put_nowait({})
    await made.consumer.close()
    assert all(client.ends for client in made.clients), "no client is left behind"


def at(offset: int, note: Note | None = None) -> OffsetAndMetadata:
    return OffsetAndMetadata(offset, note.text() if note else "")


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_member_begins_where_the_group_stands_or_its_start_says(member: Bench) -> None:
    member.client.group_at = {_ZERO: at(5)}
    await member.assign(_ZERO, _ONE)
    assert member.client.sought == {_ZERO: 5, _ONE: 10}
    assert member.client.commits == [{_ZERO: 5, _ONE: 10}], "a new group's beginning is kept"
    assert not any(note is None or note.clean for note in member.client.notes.values()), (
        "that something may be in flight is at the broker before anything is"
    )


async def test_a_latest_member_has_joined_when_it_knows_the_end() -> None:
    member = Bench(Start.LATEST)
    joining = asyncio.create_task(member.open())
    await turns()
    assert not joining.done()
    await member.assign(_ZERO)
    await joining
    assert member.client.sought == {_ZERO: 90}
    await member.consumer.close()


async def test_a_latest_member_that_is_lost_before_it_knows_has_not_joined() -> None:
    member = Bench(Start.LATEST)
    joining = asyncio.create_task(member.open())
    await turns()
    member.client.refusal = GroupAuthorizationFailedError("g")
    await member.assign(_ZERO)
    with pytest.raises(BrokerError, match="cannot learn where it stands"):
        await joining
    assert member.client.ends


async def test_acks_are_committed_on_flush_and_only_when_they_moved_something(member: Bench) -> None:
    member.client.group_at = {_ZERO: at(0)}
    await member.assign(_ZERO)
    member.client.answer(0, 1, 2)
    deliveries = await member.consumer.fetch(10)
    deliveries[1].ack()
    await member.consumer.flush()
    deliveries[0].ack()
    await member.consumer.flush()
    await member.consumer.flush()
    assert member.client.commits == [{_ZERO: 0}, {_ZERO: 2}]


async def test_a_poll_that_fails_has_the_member_made_anew(
    member: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    member.client.group_at = {_ZERO: at(0)}
    await member.assign(_ZERO)
    member.client.answer(0)
    (delivery,) = await member.consumer.fetch(10)
    member.finish.clear()
    member.client.polls.put_nowait(KafkaError("corrupt"))
    fetching = asyncio.create_task(member.consumer.fetch(1))
    await turns()
    assert not member.consumer.health().connected
    assert "cannot read on: KafkaError: corrupt" in (member.consumer.health().trouble or "")
    member.finish.set()
    await member.rebuilt()
    assert member.revoked == [[TopicPartition("t", 0)]], "nothing of the old life is being handled any more"
    delivery.ack()
    await member.assign(_ZERO)
    member.client.answer(10)
    assert [again.offset for again in await fetching] == [10]
    assert member.client.commits == [{_ZERO: 10}], "and its late acks are dropped"
    health = member.consumer.health()
    assert (health.rebuilt, health.trouble, health.connected) == (1, None, True)
    assert caplog.text.count("made anew") == 1


@pytest.mark.parametrize("refusal", [GroupAuthorizationFailedError("g"), TopicAuthorizationFailedError("t")])
async def test_a_refusal_is_raised_each_time(member: Bench, refusal: KafkaError) -> None:
    await member.assign(_ZERO)
    member.client.polls.put_nowait(refusal)
    for _ in range(2):
        with pytest.raises(BrokerError, match="cannot read on") as failure:
            await member.consumer.fetch(1)
        assert isinstance(failure.value.__cause__, KafkaError)
    assert member.consumer.health().rebuilt == 0


async def test_a_broker_that_is_away_is_tried_again(member: Bench) -> None:
    await member.assign(_ZERO)
    member.unreachable = Unreachable("nobody there")
    member.client.dead = "aiokafka's fetching ended"
    fetching = asyncio.create_task(member.consumer.fetch(1))
    async with asyncio.timeout(10):
        while "nobody there" not in (member.consumer.health().trouble or ""):  # noqa: ASYNC110 - its own backoff
            await asyncio.sleep(0.01)
    member.unreachable = None
    await member.rebuilt()
    await member.assign(_ZERO)
    member.client.answer(10)
    assert len(await fetching) == 1


async def test_a_topic_that_is_gone_when_the_member_is_made_anew_is_told(member: Bench) -> None:
    await member.assign(_ZERO)
    member.unreachable = BrokerError("no")
    member.unreachable.__cause__ = GroupAuthorizationFailedError("g")
    member.client.dead = "aiokafka's fetching ended"
    with pytest.raises(BrokerError, match="no"):
        await member.consumer.fetch(1)


def note(member: Bench, partition: KafkaPartition = _ZERO) -> Note:
    found = member.client.notes[partition]
    assert found is not None
    return found


async def test_what_a_dead_process_had_in_flight_is_handed_out_one_by_one(member: Bench) -> None:
    member.client.group_at = {_ZERO: at(0, Note(clean=False, by="other", until=2, deaths=1, strict=True))}
    await member.assign(_ZERO)
    assert (note(member).clean, note(member).deaths) == (True, 2), "nothing is in hand yet"
    member.client.answer(0, 1, 2)
    (delivery,) = await member.consumer.fetch(10)
    assert (delivery.offset, delivery.deaths) == (0, 2)
    alone = note(member)
    assert (alone.clean, alone.until, alone.deaths) == (False, 2, 2)
    assert member.consumer.health().suspect == (TopicPartition("t", 0),)
    delivery.ack()
    await member.revoke()
    after = note(member)
    assert (after.clean, after.until, after.deaths) == (True, 2, 0)


async def test_after_one_death_other_partitions_go_on_beside_the_suspects(member: Bench) -> None:
    member.client.group_at = {_ZERO: at(0, Note(clean=False, by="other")), _ONE: at(0, None)}
    await member.assign(_ZERO, _ONE)
    member.client.answer(0, 1)
    (suspect,) = await member.consumer.fetch(10)
    member.client.answer(0, 1, partition=_ONE)
    assert [each.partition for each in await member.consumer.fetch(10)] == [1, 1]
    assert suspect.deaths == 0
    assert (note(member).clean, note(member).strict) == (False, False)


async def test_after_two_deaths_nothing_is_handed_out_beside_a_suspect(member: Bench) -> None:
    suspect = Note(clean=False, by="other", until=2)
    member.client.group_at = {_ZERO: at(0, suspect), _ONE: at(0, suspect), _TWO: at(0, None)}
    await member.assign(_ZERO, _ONE, _TWO)
    member.client.answer(0, 1, partition=_TWO)
    fetching = asyncio.create_task(member.consumer.fetch(10))
    await turns()
    assert not fetching.done(), "nobody suspects it, and it has to wait"
    member.client.answer(0, 1)
    member.client.answer(0, 1, partition=_ONE)
    seen: list[tuple[int, int | None, int]] = []
    for _ in range(4):
        (delivery,) = await fetching
        seen.append((delivery.partition, delivery.offset, delivery.deaths))
        alone = [each for each in (_ZERO, _ONE) if (found := note(member, each)).strict and not found.clean]
        assert [each.partition for each in alone] == [delivery.partition]
        fetching = asyncio.create_task(member.consumer.fetch(10))
        await turns()
        assert not fetching.done(), "nothing comes beside it"
        delivery.ack()
    assert sorted(seen) == [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0)]
    assert [(each.partition, each.offset) for each in await fetching] == [(2, 0), (2, 1)]
    assert not note(member).strict
    assert not note(member, _ONE).strict


async def test_a_poll_before_the_positions_are_known_is_no_failure(member: Bench) -> None:
    member.client.polls.put_nowait(NoOffsetForPartitionError(_ZERO))
    member.client.answer(3)
    fetching = asyncio.create_task(member.consumer.fetch(1))
    await turns()
    await member.assign(_ZERO)
    assert member.client.sought == {_ZERO: 10}, "and what came too early is read again"
    member.client.answer(10)
    assert [delivery.offset for delivery in await fetching] == [10]


async def test_what_was_polled_before_the_positions_are_known_is_not_handed_out(member: Bench) -> None:
    fetching = asyncio.create_task(member.consumer.fetch(1))
    await turns()
    fetching.cancel()
    member.client.answer(60)
    await turns()
    await member.assign(_ZERO)
    member.client.answer(10)
    assert [delivery.offset for delivery in await member.consumer.fetch(1)] == [10]


async def test_an_offset_out_of_range_is_named_each_time(member: Bench) -> None:
    await member.assign(_ZERO)
    for _ in range(2):
        member.client.polls.put_nowait(OffsetOutOfRangeError({_ZERO: 7}))
        with pytest.raises(OffsetOutOfRange, match="offset 7 of `t` partition 0"):
            await member.consumer.fetch(1)


async def test_a_dead_fetching_task_is_found(member: Bench) -> None:
    await member.assign(_ZERO)
    member.client.dead = "aiokafka's fetching ended: gone"
    await member.rebuilt()
    assert member.consumer.health().rebuilt == 1


async def test_lag_is_told_when_the_ends_are_known(member: Bench) -> None:
    assert member.consumer.health().lag is None
    await member.assign(_ZERO, _ONE)
    member.client.at[_ZERO] = Reading(10, 14, 1, paused=False)
    assert member.consumer.health().lag is None
    member.client.at[_ONE] = Reading(10, 10, 1, paused=False)
    assert member.consumer.health().lag == 4
    member.client.answer(10, 11)
    for delivery in await member.consumer.fetch(10):
        delivery.ack()
    assert member.consumer.health().lag == 2


async def test_what_was_acked_while_giving_up_is_committed_and_later_acks_are_not(member: Bench) -> None:
    member.client.group_at = {_ZERO: at(0)}
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
    assert member.client.commits == [{_ZERO: 0}, {_ZERO: 1}]
    note = member.client.notes[_ZERO]
    assert note is not None
    assert note.clean, "who drained has not died"


async def test_a_poll_that_ended_before_the_partitions_went_is_not_handed_out(member: Bench) -> None:
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


async def test_a_cancelled_fetch_leaves_its_poll_to_the_next(member: Bench) -> None:
    await member.assign(_ZERO)
    fetching = asyncio.create_task(member.consumer.fetch(1))
    await turns()
    fetching.cancel()
    member.client.answer(10)
    await turns()
    assert [delivery.offset for delivery in await member.consumer.fetch(1)] == [10]


async def test_what_is_released_while_giving_up_is_not_handed_out(member: Bench) -> None:
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
    member: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    await member.assign(_ZERO)
    member.finish.clear()
    await member.revoke()
    assert "did not end within" in caplog.text


async def test_a_subscriber_that_fails_to_let_go_is_told(member: Bench) -> None:
    await member.assign(_ZERO)
    member.fault = ValueError("lanes")
    await member.revoke()
    with pytest.raises(BrokerError, match="lanes"):
        await member.consumer.fetch(1)


async def test_commits_that_fail_are_carried_by_a_later_one(member: Bench) -> None:
    await member.assign(_ZERO)
    member.client.answer(10)
    (delivery,) = await member.consumer.fetch(1)
    delivery.ack()
    for refusal in (CommitFailedError(), IllegalStateError()):
        member.client.refusal = refusal
        await member.consumer.flush()
    assert member.consumer.lost_commits == 2
    member.client.refusal = KafkaError("who knows")
    with pytest.raises(BrokerError, match="the last commit failed: KafkaError: who knows"):
        await member.consumer.flush()
    assert member.consumer.health().trouble is not None
    member.client.refusal = None
    await member.consumer.flush()
    assert member.client.commits[-1] == {_ZERO: 11}
    health = member.consumer.health()
    assert (health.rebuilt, health.trouble) == (0, None)


async def test_a_commit_that_is_refused_is_an_error(member: Bench) -> None:
    await member.assign(_ZERO)
    member.client.answer(10)
    (delivery,) = await member.consumer.fetch(1)
    delivery.ack()
    member.client.refusal = GroupAuthorizationFailedError("g")
    with pytest.raises(BrokerError, match="cannot commit"):
        await member.consumer.flush()


async def test_a_flush_that_is_not_answered_is_an_error_and_can_be_repeated(
    member: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await member.assign(_ZERO)
    member.client.answer(10)
    (delivery,) = await member.consumer.fetch(1)
    delivery.ack()
    member.client.answering.clear()
    with monkeypatch.context() as patch:
        patch.setattr(consumer, "_FLUSH_WITHIN", 0)
        with pytest.raises(BrokerError, match="no answer from Kafka within 0 s"):
            await member.consumer.flush()
    member.client.answering.set()
    await member.consumer.flush()
    assert member.client.commits[-1] == {_ZERO: 11}


async def test_a_commit_that_waits_does_not_outlive_its_assignment(
    member: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_module, "_COMMIT_WITHIN", 0.01)
    await member.assign(_ZERO)
    member.client.answer(10)
    (delivery,) = await member.consumer.fetch(1)
    delivery.ack()
    member.client.answering.clear()
    flushing = asyncio.create_task(member.consumer.flush())
    await turns()
    await member.revoke()
    member.client.answering.set()
    await flushing
    await turns()
    assert member.client.commits == [{_ZERO: 10}], "it would set back who has the partition now"


async def test_a_group_whose_positions_are_not_told_is_tried_again(member: Bench) -> None:
    member.client.refusal = KafkaError("loading")
    await member.assign(_ZERO)
    await member.rebuilt()
    await member.assign(_ZERO)
    assert member.client.sought == {_ZERO: 10}


async def test_closing_ends_a_waiting_fetch(member: Bench) -> None:
    await member.assign(_ZERO)
    fetching = asyncio.create_task(member.consumer.fetch(1))
    await turns()
    member.client.polls.put_nowait({})
    await asyncio.gather(member.consumer.close(), member.consumer.close())
    with pytest.raises(Closed):
        await fetching
