"""The suite finds faults: transports that break one promise each fail the scenario that plays it."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar
from uuid import uuid4

import pytest

from eventwire.errors import Closed, EventwireError, PublishError
from eventwire.message import Message, Receipt
from eventwire.policy import Start
from eventwire.testing.conformance import Broken, Harness, scenarios
from eventwire.transport import (
    Consumer,
    ConsumerHealth,
    Delivery,
    DriverOptions,
    Features,
    Subscription,
    TopicPartition,
    TopicSpec,
    TransportFactory,
)
from eventwire.transports.memory import MemoryTransport
from eventwire.url import BrokerUrl

SCENARIOS = {str(scenario): scenario for scenario in scenarios()}


class Reader:
    """Passes everything on."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer

    async def fetch(self, limit: int) -> Sequence[Delivery]:
        return await self.consumer.fetch(limit)

    async def flush(self) -> None:
        await self.consumer.flush()

    def health(self) -> ConsumerHealth:
        return self.consumer.health()

    async def close(self) -> None:
        await self.consumer.close()


class Transport(MemoryTransport):
    reader: type[Reader] = Reader

    async def subscribe(self, subscription: Subscription) -> Consumer:  # type: ignore[override]
        return self.reader(await super().subscribe(subscription))


class Loses(Transport):
    async def publish_many(
        self, topic: TopicSpec, messages: Sequence[Message]
    ) -> Sequence[Receipt | PublishError]:
        await super().publish_many(topic, messages[:-1])
        return [Receipt(topic.name, message.id) for message in messages]


class Doubles(Transport):
    async def publish_many(
        self, topic: TopicSpec, messages: Sequence[Message]
    ) -> Sequence[Receipt | PublishError]:
        await super().publish_many(topic, messages)
        return await super().publish_many(topic, messages)


class Reverses(Transport):
    async def publish_many(
        self, topic: TopicSpec, messages: Sequence[Message]
    ) -> Sequence[Receipt | PublishError]:
        outcomes = await super().publish_many(topic, messages[::-1])
        return outcomes[::-1]


class MisordersOutcomes(Transport):
    async def publish_many(
        self, topic: TopicSpec, messages: Sequence[Message]
    ) -> Sequence[Receipt | PublishError]:
        return (await super().publish_many(topic, messages))[::-1]


class Rewrites(Transport):
    change: ClassVar[Mapping[str, object]] = {}

    async def publish_many(
        self, topic: TopicSpec, messages: Sequence[Message]
    ) -> Sequence[Receipt | PublishError]:
        return await super().publish_many(topic, [replace(each, **self.change) for each in messages])  # type: ignore[arg-type]


class DropsHeaders(Rewrites):
    change: ClassVar[Mapping[str, object]] = {"headers": ()}


class DropsContentType(Rewrites):
    change: ClassVar[Mapping[str, object]] = {"content_type": "application/octet-stream"}


class WrongId(Rewrites):
    change: ClassVar[Mapping[str, object]] = {"id": "another"}


class TombstonesAsEmpty(Transport):
    async def publish_many(
        self, topic: TopicSpec, messages: Sequence[Message]
    ) -> Sequence[Receipt | PublishError]:
        return await super().publish_many(topic, [replace(each, body=each.body or b"") for each in messages])


class OtherPartitioner(Transport):
    async def publish_many(
        self, topic: TopicSpec, messages: Sequence[Message]
    ) -> Sequence[Receipt | PublishError]:
        moved = [replace(each, key=(each.key or b"") + b"!") for each in messages]
        outcomes = await super().publish_many(topic, moved)
        for message, before in zip(moved, messages, strict=True):
            message.key = before.key  # the partition is the other key's
        return outcomes


class AcksReleased(Transport):
    class reader(Reader):  # noqa: N801
        async def fetch(self, limit: int) -> Sequence[Delivery]:
            return [Released(each) for each in await self.consumer.fetch(limit)]


class Released:
    def __init__(self, delivery: Delivery) -> None:
        self.message, self.partition = delivery.message, delivery.partition
        self.offset, self.attempt, self.deaths = delivery.offset, delivery.attempt, delivery.deaths
        self.delivery = delivery

    def ack(self, error: Exception | None = None) -> None:
        self.delivery.ack(error)

    def release(self) -> None:
        self.delivery.ack()


class CommitsPastGaps(Transport):
    """The acknowledgement of a later message settles the earlier ones."""

    class reader(Reader):  # noqa: N801
        def __init__(self, consumer: Consumer) -> None:
            super().__init__(consumer)
            self.held: list[Delivery] = []

        async def fetch(self, limit: int) -> Sequence[Delivery]:
            fetched = await self.consumer.fetch(limit)
            self.held += fetched
            return [Cumulative(each, self.held) for each in fetched]


class Cumulative(Released):
    def __init__(self, delivery: Delivery, held: list[Delivery]) -> None:
        super().__init__(delivery)
        self.held = held

    def ack(self, error: Exception | None = None) -> None:
        for each in self.held:
            if (each.offset or 0) <= (self.offset or 0):
                each.ack(error)


class AcksOnFetch(Transport):
    class reader(Reader):  # noqa: N801
        async def fetch(self, limit: int) -> Sequence[Delivery]:
            fetched = await self.consumer.fetch(limit)
            for each in fetched:
                each.ack()
            return fetched


class NeverAcks(Transport):
    class reader(Reader):  # noqa: N801
        async def fetch(self, limit: int) -> Sequence[Delivery]:
            return [Unacked(each) for each in await self.consumer.fetch(limit)]


class Unacked(Released):
    def ack(self, error: Exception | None = None) -> None:
        """Forgotten."""


class LosesOnCancel(Transport):
    class reader(Reader):  # noqa: N801
        async def fetch(self, limit: int) -> Sequence[Delivery]:
            fetched = await self.consumer.fetch(limit)
            await asyncio.sleep(0.002)
            return fetched


class FetchesPastTheLimit(Transport):
    class reader(Reader):  # noqa: N801
        async def fetch(self, limit: int) -> Sequence[Delivery]:
            return await self.consumer.fetch(limit + 1)


class IgnoresBound(Transport):
    async def subscribe(self, subscription: Subscription) -> Consumer:  # type: ignore[override]
        return await super().subscribe(replace(subscription, max_uncommitted=1000))


class OneGroup(Transport):
    async def subscribe(self, subscription: Subscription) -> Consumer:  # type: ignore[override]
        return await super().subscribe(replace(subscription, group="all"))


class StartsAtTheEnd(Transport):
    async def subscribe(self, subscription: Subscription) -> Consumer:  # type: ignore[override]
        return await super().subscribe(replace(subscription, start=Start.LATEST))


class StartsAtTheBeginning(Transport):
    async def subscribe(self, subscription: Subscription) -> Consumer:  # type: ignore[override]
        return await super().subscribe(replace(subscription, start=Start.EARLIEST))


class AsksNobody(Transport):
    async def subscribe(self, subscription: Subscription) -> Consumer:  # type: ignore[override]
        return await super().subscribe(replace(subscription, on_revoke=agree))


async def agree(_: Collection[TopicPartition]) -> None:
    """At once."""


class CloseAgainFails(Transport):
    async def close(self) -> None:
        if self._closed:
            raise Closed("closed already")
        await super().close()


class CloseHangs(Transport):
    async def close(self) -> None:
        await super().close()
        await asyncio.Event().wait()


class WritesAfterClose(Transport):
    async def publish(self, topic: TopicSpec, message: Message) -> Receipt:
        self._closed = False
        return await super().publish(topic, message)


class FetchWaitsForever(Transport):
    class reader(Reader):  # noqa: N801
        async def fetch(self, limit: int) -> Sequence[Delivery]:
            try:
                return await self.consumer.fetch(limit)
            except Closed:
                await asyncio.Event().wait()
                raise


class BigBodies(Transport):
    """States a limit and does not keep it."""

    def __init__(self, url: BrokerUrl, options: DriverOptions) -> None:
        super().__init__(url, options)
        self.features = replace(self.features, max_body=1000, max_key=10)


class ChangesPartitions(Transport):
    async def declare(self, topics: Sequence[TopicSpec], groups: Sequence[str]) -> None:
        try:
            await super().declare(topics, groups)
        except EventwireError:
            return


class WrongTopicName(Transport):
    class reader(Reader):  # noqa: N801
        async def fetch(self, limit: int) -> Sequence[Delivery]:
            fetched = [Released(each) for each in await self.consumer.fetch(limit)]
            for each in fetched:
                each.message = replace(each.message, topic="physical-name")
            return fetched


class LeavesTask(Transport):
    tasks: ClassVar[set[asyncio.Task[bool]]] = set()

    async def connect(self) -> None:
        await super().connect()
        self.tasks.add(asyncio.create_task(asyncio.Event().wait()))


class AlwaysAnswers(Transport):
    async def ping(self) -> None:
        """Without asking anybody."""


class LagOfNothing(Transport):
    async def lag(self, topic: TopicSpec, group: str) -> int:
        return 0


class LagOfAll(Transport):
    async def lag(self, topic: TopicSpec, group: str) -> int:
        return await super().lag(topic, "nobody")


class AlwaysWell(Transport):
    class reader(Reader):  # noqa: N801
        def health(self) -> ConsumerHealth:
            return ConsumerHealth(connected=True, heartbeat=0.0, lag=None)


class NeverHeard(Transport):
    class reader(Reader):  # noqa: N801
        def health(self) -> ConsumerHealth:
            return replace(self.consumer.health(), heartbeat=None)


class StuckLag(Transport):
    class reader(Reader):  # noqa: N801
        def health(self) -> ConsumerHealth:
            return replace(self.consumer.health(), lag=5)


FAULTS: list[tuple[TransportFactory, str]] = [
    (Loses, "basic_delivery"),
    (Doubles, "basic_delivery"),
    (NeverAcks, "acks_out_of_order_leave_no_gap"),
    (NeverAcks, "groups_have_their_own_positions"),
    (Loses, "twenty_topics_at_once"),
    (Loses, "queue_topics_wait_for_their_reader"),
    (Loses, "declare_is_idempotent"),
    (Loses, "consumers_close_at_once"),
    (Loses, "confirmed_outlives_the_publisher"),
    (Loses, "waiting_fetch_gets_the_next_message"),
    (WrongTopicName, "topics_do_not_mix"),
    (LosesOnCancel, "cancelled_fetch_loses_nothing"),
    (AcksReleased, "released_comes_again"),
    (Reverses, "released_keeps_the_order"),
    (AcksReleased, "settling_twice_is_harmless"),
    (FetchesPastTheLimit, "unacked_does_not_come_back_to_its_holder"),
    (IgnoresBound, "no_ack_no_next"),
    (IgnoresBound, "max_uncommitted_bounds_the_span"),
    (NeverAcks, "acks_reach_the_broker_without_flush"),
    (CommitsPastGaps, "acks_out_of_order_leave_no_gap"),
    (AcksOnFetch, "nothing_is_lost_on_close"),
    (AcksOnFetch, "flushed_acks_outlive_the_consumer"),
    (AcksOnFetch, "late_acks_are_harmless"),
    (Reverses, "order_per_key"),
    (Reverses, "order_survives_members_joining_and_leaving"),
    (OtherPartitioner, "keys_have_javas_partitions"),
    (AsksNobody, "revoke_is_awaited"),
    (OneGroup, "every_group_gets_everything"),
    (StartsAtTheEnd, "new_group_sees_the_past"),
    (StartsAtTheEnd, "no_group_yet_is_no_silent_loss"),
    (StartsAtTheBeginning, "latest_leaves_out_the_past"),
    (ChangesPartitions, "another_number_of_partitions_is_a_mismatch"),
    (DropsHeaders, "arrives_byte_for_byte"),
    (DropsContentType, "arrives_byte_for_byte"),
    (WrongId, "arrives_byte_for_byte"),
    (TombstonesAsEmpty, "arrives_byte_for_byte"),
    (MisordersOutcomes, "outcomes_come_in_order"),
    (BigBodies, "too_large_is_refused_by_name"),
    (BigBodies, "headers_and_keys_above_the_limit_are_refused"),
    (CloseHangs, "close_flushes_publishers"),
    (CloseHangs, "close_is_idempotent_and_bounded"),
    (CloseAgainFails, "close_is_idempotent_and_bounded"),
    (WritesAfterClose, "closed_transport_says_so"),
    (FetchWaitsForever, "close_ends_a_waiting_fetch"),
    (LeavesTask, "outcomes_come_in_order"),
    (AlwaysAnswers, "ping_answers"),
    (LagOfNothing, "lag_counts_what_is_not_settled"),
    (LagOfAll, "lag_counts_what_is_not_settled"),
    (LagOfNothing, "lag_counts_queue_topics"),
    (LagOfAll, "lag_counts_queue_topics"),
    (AlwaysWell, "health_says_connected"),
    (NeverHeard, "health_says_connected"),
    (StuckLag, "health_says_connected"),
]


def harness(factory: TransportFactory) -> Harness:
    return Harness(f"memory://{uuid4()}", factory, scale=0.02, deadline=0.4, quiet=0.02)


@pytest.mark.parametrize(("factory", "name"), FAULTS)
def test_a_broken_promise_is_found(
    factory: TransportFactory, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventwire.testing.conformance.scenario._LEFT_OVER", 0.05)
    monkeypatch.setattr("eventwire.testing.conformance.lifecycle._CLOSE", 0.2)
    with pytest.raises((Broken, EventwireError, ExceptionGroup)):
        asyncio.run(SCENARIOS[name].run_alone(harness(factory)))


@pytest.mark.parametrize("name", SCENARIOS)
def test_passing_everything_on_breaks_nothing(name: str) -> None:
    if not SCENARIOS[name].skipped(harness(Transport)):
        asyncio.run(SCENARIOS[name].run_alone(replace(harness(Transport), deadline=30)))


def test_skips_name_the_feature() -> None:
    class Plain(MemoryTransport):
        def __init__(self, url: BrokerUrl, options: DriverOptions) -> None:
            super().__init__(url, options)
            self.features = replace(
                self.features, transport="plain", ack=False, groups=False, ordering=False, history=False
            )

    skipped = {name: scenario.skipped(harness(Plain)) for name, scenario in SCENARIOS.items()}
    assert skipped["order_per_key"] == "plain has no Features.ordering"
    assert skipped["every_group_gets_everything"] == "plain has no Features.groups"
    assert skipped["topics_do_not_mix"] is None


def test_every_need_is_a_feature() -> None:
    known = Features.__dataclass_fields__
    assert {need for scenario in scenarios() for need in scenario.needs} <= known.keys()
