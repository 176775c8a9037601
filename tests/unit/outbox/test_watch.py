from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eventwire.outbox.tables import SLOTS
from eventwire.outbox.watch import Watch, share


@given(st.sets(st.text(), min_size=1, max_size=200))
def test_shares_are_fair_and_make_up_the_whole(relays: set[str]) -> None:
    shares = [share(relay, relays) for relay in relays]
    assert sum(shares) == SLOTS
    assert max(shares) - min(shares) <= 1


def test_who_does_not_beat_for_a_lease_is_dead() -> None:
    watch = Watch(10.0)
    assert watch.see({"a": 1, "b": 5}, 100.0) == {}
    assert watch.see({"a": 2, "b": 5}, 109.9) == {}
    assert watch.see({"a": 2, "b": 5}, 110.0) == {"b": 5}
    assert watch.see({"a": 2, "b": 6}, 111.0) == {}  # it was only slow
    assert watch.see({"a": 2}, 119.9) == {"a": 2}


def test_a_relay_that_was_gone_is_watched_anew() -> None:
    watch = Watch(10.0)
    watch.see({"a": 1}, 0.0)
    watch.see({}, 5.0)
    assert watch.see({"a": 1}, 12.0) == {}


@given(st.lists(st.tuples(st.floats(0.01, 5), st.booleans()), min_size=1, max_size=40))
def test_nobody_who_beats_within_the_lease_is_dead(steps: list[tuple[float, bool]]) -> None:
    watch, beat, at, last = Watch(10.0), 0, 0.0, 0.0
    watch.see({"a": beat}, at)
    for seconds, beats in steps:
        at += seconds
        if beats:
            beat, last = beat + 1, at
        dead = watch.see({"a": beat}, at)
        assert bool(dead) == (at - last >= 10.0)
