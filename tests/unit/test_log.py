from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventwire.log import HeldPartition, shares
from eventwire.message import Message
from eventwire.transport import TopicPartition


class Member:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.settlements: list[tuple[int, int]] = []
        self.releases = 0

    def settled(self, held: HeldPartition, offset: int, error: Exception | None) -> None:
        assert error is None
        self.settlements.append((offset, held.position))

    def released(self) -> None:
        self.releases += 1


AT = TopicPartition("t", 3)
MESSAGES = [Message("t", b"%d" % number) for number in range(6)]


@pytest.fixture
def member() -> Member:
    return Member()


def test_room_is_bounded_by_the_lowest_unsettled(member: Member) -> None:
    held = HeldPartition(AT, 10, {}, 4, member)
    found = held.take(MESSAGES[:4])
    assert (held.room, held.next) == (0, 14)
    found[2].ack()
    assert held.room == 0
    found[0].ack()
    assert (held.room, held.position) == (1, 11)
    assert member.settlements == [(12, 10), (10, 11)]


def test_what_was_lost_takes_no_acks_and_counts_what_was_handed_out(member: Member) -> None:
    attempts = {11: 4}
    held = HeldPartition(AT, 10, attempts, 10, member)
    found = held.take(MESSAGES[:4])
    assert [delivery.attempt for delivery in found] == [1, 5, 1, 1]
    found[0].ack()
    found[3].release()
    held.lose()
    found[1].ack()
    found[2].release()
    assert (held.position, attempts, member.releases) == (11, {11: 5, 12: 1, 13: 1}, 1)


topics = st.sampled_from(["a", "b", "c"])
members = st.dictionaries(st.integers(0, 9), st.sets(topics, min_size=1), max_size=6)
partitions = st.sets(st.builds(TopicPartition, topics, st.integers(0, 12)), max_size=25)


@given(partitions, members, st.data())
def test_every_partition_that_somebody_reads_has_a_reader(
    ats: set[TopicPartition], joined: dict[int, set[str]], data: st.DataObject
) -> None:
    held = {at: data.draw(st.integers(0, 12)) for at in ats if data.draw(st.booleans())}
    result = shares(ats, joined, held)
    assert set(result) == {at for at in ats if any(at.topic in read for read in joined.values())}
    assert all(at.topic in joined[owner] for at, owner in result.items())
    assert shares(ats, joined, result) == result or any(read != {"a", "b", "c"} for read in joined.values())


@given(st.integers(0, 40), st.integers(1, 8), st.data())
def test_shares_are_fair_and_settled_in_one_step(count: int, number: int, data: st.DataObject) -> None:
    ats = [TopicPartition("a", index) for index in range(count)]
    joined = {index: {"a"} for index in range(number)}
    held = {at: data.draw(st.integers(0, 9)) for at in ats}
    result = shares(ats, joined, held)
    loads = [list(result.values()).count(index) for index in joined]
    assert max(loads) - min(loads) <= 1
    assert shares(ats, joined, result) == result
    moved = [at for at in ats if held[at] in joined and result[at] != held[at]]
    over = sum(max(0, list(held.values()).count(index) - loads[index]) for index in joined)
    assert len(moved) == over
