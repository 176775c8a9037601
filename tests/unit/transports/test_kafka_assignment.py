from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import cast

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from eventwire.transports.kafka.assignment import AssignedPartition, KafkaDelivery

_PARTITION = TopicPartition("t", 3)


@dataclass
class FakeClient:
    """Remembers where it was told to go."""

    position: int | None = None
    paused: bool = False

    def seek(self, partition: TopicPartition, offset: int) -> None:
        assert partition == _PARTITION
        self.position = offset

    def pause(self, *partitions: TopicPartition) -> None:
        assert partitions == (_PARTITION,)
        assert not self.paused
        self.paused = True

    def resume(self, *partitions: TopicPartition) -> None:
        assert partitions == (_PARTITION,)
        assert self.paused
        self.paused = False


@dataclass
class Record:
    """What is read of a record."""

    offset: int
    key: bytes | None = b"k"
    value: bytes | None = b"v"
    headers: tuple[tuple[str, bytes | None], ...] = (("content-type", b"x"), ("a", None))


@dataclass
class Partition:
    """An assigned partition on a fake client, with what was given back."""

    position: int = 0
    max_uncommitted: int = 4
    client: FakeClient = field(default_factory=FakeClient)
    released: list[KafkaDelivery] = field(default_factory=list[KafkaDelivery])

    def __post_init__(self) -> None:
        self.assigned = AssignedPartition(
            cast("AIOKafkaConsumer", self.client),
            _PARTITION,
            "logical",
            position=self.position,
            committed=None,
            max_uncommitted=self.max_uncommitted,
            give_back=self.released.append,
        )

    def take(self, *offsets: int, room: int = 100) -> list[KafkaDelivery]:
        return self.assigned.take(
            cast("Sequence[ConsumerRecord]", [Record(offset) for offset in offsets]), room
        )


def offsets(deliveries: Sequence[KafkaDelivery]) -> list[int | None]:
    return [delivery.offset for delivery in deliveries]


def test_a_record_becomes_a_delivery() -> None:
    (delivery,) = Partition().take(0)
    message = delivery.message
    assert (message.topic, message.body, message.key) == ("logical", b"v", b"k")
    assert (message.headers, message.content_type) == ((("a", b""),), "x")
    assert (delivery.partition, delivery.offset, delivery.attempt) == (3, 0, 1)


def test_more_than_there_is_room_for_is_sought_back() -> None:
    partition = Partition()
    assert offsets(partition.take(0, 1, 2, room=2)) == [0, 1]
    assert partition.client == FakeClient(position=2)
    assert offsets(partition.take(2, room=0)) == []
    assert partition.client.position == 2


def test_the_span_is_bounded_by_a_pause_with_hysteresis() -> None:
    partition = Partition()
    deliveries = partition.take(0, 1, 2, 3, 4, 5)
    assert offsets(deliveries) == [0, 1, 2, 3]
    assert partition.client == FakeClient(position=4, paused=True)
    deliveries[1].ack()
    deliveries[0].ack()
    assert partition.client.paused is False, "half of it is settled"
    assert offsets(partition.take(4, 5, 6)) == [4, 5]


def test_a_full_span_without_a_rest_pauses_too() -> None:
    partition = Partition()
    partition.take(0, 1, 2, 3)
    assert partition.client == FakeClient(position=None, paused=True)


def test_a_hole_counts_into_the_span() -> None:
    partition = Partition()
    first = partition.take(0)[0]
    assert offsets(partition.take(100, 101)) == []
    assert partition.client == FakeClient(position=100, paused=True)
    first.ack()
    assert partition.client.paused is False
    assert offsets(partition.take(100, 101)) == [100, 101]


def test_only_the_first_of_ack_and_release_counts() -> None:
    partition = Partition()
    one, two = partition.take(0, 1)
    one.release()
    one.release()
    one.ack()
    two.ack()
    two.release()
    assert partition.assigned.position == 0
    assert [(again.offset, again.attempt, again.message) for again in partition.released] == [
        (0, 2, one.message)
    ]
    partition.released[0].ack()
    assert partition.assigned.position == 2


def test_acks_after_the_partition_was_lost_change_nothing() -> None:
    partition = Partition()
    deliveries = partition.take(0, 1, 2, 3)
    partition.assigned.live = False
    for delivery in deliveries:
        delivery.ack()
    assert partition.assigned.position == 0
    assert partition.client.paused, "a partition that is gone cannot be resumed"


@given(st.sets(st.integers(0, 60), min_size=1).map(sorted), st.integers(1, 10), st.integers())
def test_every_record_is_handed_out_once_and_in_order(
    log: list[int], max_uncommitted: int, seed: int
) -> None:
    chance = Random(seed)  # noqa: S311 - which of poll and ack comes next
    partition = Partition(max_uncommitted=max_uncommitted)
    handed: list[int] = []
    waiting: list[KafkaDelivery] = []
    place = 0
    while place < len(log) or waiting:
        if place < len(log) and not partition.client.paused and chance.random() < 0.5:
            polled = log[place : place + chance.randint(1, 20)]
            partition.client.position = None
            taken = partition.take(*polled, room=chance.randint(0, 20))
            handed += [delivery.offset for delivery in taken if delivery.offset is not None]
            waiting += taken
            sought = partition.client.position
            place = place + len(polled) if sought is None else log.index(sought)
        elif waiting:
            waiting.pop(chance.randrange(len(waiting))).ack()
        lowest = min((delivery.offset or 0 for delivery in waiting), default=None)
        assert lowest is None or partition.assigned.position <= lowest
        assert lowest is None or handed[-1] - lowest < max_uncommitted
    assert handed == log
    assert partition.assigned.position == log[-1] + 1
    assert not partition.client.paused
