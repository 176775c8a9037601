from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import cast

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from eventwire.transports.kafka.assignment import AssignedPartition, Hooks, KafkaDelivery
from eventwire.transports.kafka.notes import Note, Suspicion, read_note
from eventwire.transports.kafka.suspects import Suspects

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
    suspicion: Suspicion = field(default_factory=lambda: Suspicion("me"))
    commits_asked: int = 0

    def __post_init__(self) -> None:
        self.assigned = AssignedPartition(
            cast("AIOKafkaConsumer", self.client),
            _PARTITION,
            "logical",
            position=self.position,
            committed=None,
            max_uncommitted=self.max_uncommitted,
            suspicion=self.suspicion,
            hooks=Hooks(self.released.append, self.ask, lambda: None),
        )
        self.suspects = Suspects({_PARTITION: self.assigned}, self.ask)

    def ask(self) -> None:
        self.commits_asked += 1

    def commit(self) -> Note | None:
        """What the broker is told, if anything is due; it then knows."""
        due = self.assigned.due()
        if due is None:
            return None
        self.assigned.written(due)
        return read_note(due.metadata)

    def handed_out(self) -> list[KafkaDelivery]:
        """What may be handed out now."""
        given, self.released[:] = list(self.released), []
        if self.suspects.exclusive and (alone := self.suspects.next(self.assigned.unsettled)):
            given.append(alone)
        return given

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


def suspect(*, until: int = 3, deaths: int = 0, strict: bool = True) -> Partition:
    return Partition(suspicion=Suspicion("me", until, 0, deaths, strict=strict))


def noted(*, clean: bool, deaths: int = 0) -> Note:
    return Note(clean=clean, by="me", until=3, deaths=deaths, strict=True)


def test_after_one_death_suspects_are_handed_out_one_by_one_and_no_note_waits_for_the_broker() -> None:
    partition = suspect(strict=False)
    partition.commit()
    partition.take(0, 1, 2)
    for offset in (0, 1, 2):
        (delivery,) = partition.handed_out()
        assert (delivery.offset, delivery.deaths) == (offset, 0)
        assert partition.handed_out() == []
        if offset == 1:
            delivery.release()
            ((again),) = partition.handed_out()
            assert (again.offset, again.attempt) == (1, 2)
            delivery = again
        delivery.ack()
    assert not partition.assigned.suspect


def test_a_strict_suspect_is_handed_out_when_the_broker_knows_that_it_is_alone() -> None:
    partition = suspect(deaths=2)
    assert partition.take(0, 1, 2) == []
    assert partition.client == FakeClient(position=None, paused=True)
    assert partition.handed_out() == []
    assert partition.commits_asked == 1
    assert partition.commit() == noted(clean=False, deaths=2)
    (delivery,) = partition.handed_out()
    assert (delivery.offset, delivery.deaths, delivery.attempt) == (0, 2, 3)
    assert partition.handed_out() == []
    assert partition.assigned.suspect
    assert partition.assigned.exclusive
    assert not partition.assigned.full


def test_the_next_is_read_when_the_one_before_is_settled_and_owes_it_nothing() -> None:
    partition = suspect(deaths=2)
    partition.take(0, 1)
    assert partition.handed_out() == []
    partition.commit()
    assert partition.client == FakeClient(position=None, paused=True)
    partition.handed_out()[0].ack()
    assert partition.handed_out() == []
    assert partition.commit() == noted(clean=False)
    (following,) = partition.handed_out()
    assert (following.offset, following.deaths, following.attempt) == (1, 0, 1)
    assert partition.client == FakeClient(position=None, paused=True)
    asked = partition.commits_asked
    following.ack()
    assert partition.commits_asked > asked, "it is charged until the broker knows better"
    assert partition.client == FakeClient(position=None, paused=False)
    assert partition.commit() == noted(clean=True), "nobody is being handled"


@pytest.mark.parametrize("strict", [False, True])
def test_many_are_handed_out_again_when_the_broker_knows_that_the_window_is_past(strict: bool) -> None:
    partition = suspect(until=1, strict=strict)
    partition.take(0, 1, 2)
    first = partition.handed_out()
    partition.commit()
    (first or partition.handed_out())[0].ack()
    assert partition.assigned.exclusive is strict
    assert partition.client == FakeClient(position=1, paused=True), "what was polled already is read again"
    assert partition.take(3) == []
    assert partition.client == FakeClient(position=3, paused=True)
    assert partition.commit() == Note(clean=False, by="me")
    assert not partition.assigned.exclusive
    assert partition.client == FakeClient(position=3, paused=False)
    assert offsets(partition.take(1, 2)) == [1, 2]


def test_a_hole_up_to_the_end_of_the_window_ends_it() -> None:
    partition = suspect()
    assert partition.take(7, 8) == []
    assert partition.client == FakeClient(position=7, paused=True)
    assert partition.commit() == Note(clean=False, by="me")
    assert offsets(partition.take(7, 8)) == [7, 8]


def test_a_released_strict_suspect_is_not_alone_until_it_is_handed_out_again() -> None:
    partition = suspect()
    partition.take(0, 1)
    partition.handed_out()
    partition.commit()
    partition.handed_out()[0].release()
    assert partition.commit() == noted(clean=True)
    assert partition.handed_out() == [], "it is held until the broker knows"
    assert partition.commit() == noted(clean=False)
    assert [one.offset for one in partition.handed_out()] == [0]


def test_a_commit_that_failed_may_be_at_the_broker_and_is_written_over() -> None:
    partition = suspect()
    assert partition.commit() == noted(clean=True)
    assert partition.commit() is None
    partition.assigned.writing()
    assert not partition.assigned.recorded
    assert partition.commit() == noted(clean=True)


def test_giving_up_tells_that_nobody_is_being_handled() -> None:
    for partition in (suspect(deaths=1), Partition()):
        partition.take(0, 1)
        partition.handed_out()
        partition.commit()
        partition.assigned.leaving = True
        note = partition.commit()
        assert note is not None
        assert note.clean
        assert note.deaths == (1 if note.until else 0)


def test_what_lies_below_the_next_offset_and_is_no_record_is_passed() -> None:
    partition = Partition()
    (delivery,) = partition.take(0)
    partition.assigned.skip_to(5)
    assert partition.assigned.position == 0, "something is in flight"
    delivery.ack()
    partition.assigned.skip_to(5)
    assert partition.assigned.position == 5
    over = suspect()
    over.assigned.skip_to(5)
    assert not over.assigned.suspect


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
