from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from eventwire.offsets import OffsetTracker


def test_nothing_fetched_keeps_the_start() -> None:
    tracker = OffsetTracker(7)
    assert (tracker.position, tracker.span, list(tracker.unsettled())) == (7, 0, [])
    assert not tracker.settle(7)


def test_settling_out_of_order_waits_for_the_gap() -> None:
    tracker = OffsetTracker(0)
    tracker.fetched_range(0, 4)
    assert not tracker.settle(2)
    assert not tracker.settle(1)
    assert (tracker.position, tracker.span, list(tracker.unsettled())) == (0, 4, [0, 3])
    assert tracker.settle(0)
    assert (tracker.position, tracker.span) == (3, 1)
    assert tracker.settle(3)
    assert (tracker.position, tracker.span) == (4, 0)


def test_holes_are_stepped_over() -> None:
    tracker = OffsetTracker(10)
    for offset in (12, 15, 16):
        tracker.fetched(offset)
    assert (tracker.position, tracker.span) == (12, 5)
    assert tracker.settle(12)
    assert tracker.position == 15
    tracker.settle(16)
    tracker.settle(15)
    assert tracker.position == 17
    tracker.fetched(30)
    assert tracker.position == 30


def test_settling_twice_and_the_unknown_change_nothing() -> None:
    tracker = OffsetTracker(0)
    tracker.fetched_range(0, 2)
    tracker.fetched_range(2, 2)
    assert tracker.settle(0)
    assert not tracker.settle(0)
    assert not tracker.settle(9)
    assert (tracker.position, tracker.span) == (1, 1)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=50), st.randoms(use_true_random=False))
def test_commits_never_pass_a_gap_and_reach_the_end(steps: list[int], random: Random) -> None:
    offsets = [sum(steps[: index + 1]) for index in range(len(steps))]
    tracker = OffsetTracker(0)
    for offset in offsets:
        tracker.fetched(offset)
    open_ones = set(offsets)
    order = list(offsets)
    random.shuffle(order)
    for offset in order:
        before = tracker.position
        moved = tracker.settle(offset)
        open_ones.remove(offset)
        assert tracker.position == min(open_ones, default=offsets[-1] + 1)
        assert moved == (tracker.position != before)
        assert list(tracker.unsettled()) == sorted(open_ones)
        assert tracker.span == (offsets[-1] - min(open_ones) + 1 if open_ones else 0)


class Tracking(RuleBasedStateMachine):
    """Fetching and settling in turns, against a model that keeps everything."""

    def __init__(self) -> None:
        super().__init__()
        self.tracker = OffsetTracker(5)
        self.next = 5
        self.open: set[int] = set()

    @rule(hole=st.integers(0, 3))
    def fetch(self, hole: int) -> None:
        self.tracker.fetched(self.next + hole)
        self.open.add(self.next + hole)
        self.next += hole + 1

    @rule(count=st.integers(0, 6))
    def fetch_range(self, count: int) -> None:
        self.tracker.fetched_range(self.next, self.next + count)
        self.open.update(range(self.next, self.next + count))
        self.next += count

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.open)))
        self.tracker.settle(offset)
        self.open.remove(offset)

    @invariant()
    def position_is_the_lowest_unsettled(self) -> None:
        assert self.tracker.position == min(self.open, default=self.next)


TestTracking = Tracking.TestCase
