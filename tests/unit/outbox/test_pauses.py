from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eventwire.outbox.pauses import Pauses
from eventwire.policy import RetryPolicy

POLICY = RetryPolicy(initial_backoff=1.0, max_backoff=8.0, backoff_multiplier=2.0, jitter=0.0)


def test_each_failure_doubles_the_pause_up_to_its_maximum() -> None:
    pauses = Pauses[str](POLICY, lambda: 0.0)
    at = 0.0
    for wait in (1.0, 2.0, 4.0, 8.0, 8.0):
        pauses.failed("broker", at, "down")
        assert pauses.paused(at + wait - 0.001) == ["broker"]
        assert pauses.paused(at + wait) == []
        assert pauses.probing("broker")
        at += wait


def test_what_works_is_forgotten() -> None:
    pauses = Pauses[str](POLICY, lambda: 0.0)
    pauses.failed("a", 0.0, "a is down")
    pauses.failed("a", 1.0, "a is still down")
    pauses.failed("b", 1.0, "b is down")
    assert pauses.reasons == ["a is still down", "b is down"]
    pauses.worked("a")
    pauses.worked("never failed")
    assert (pauses.probing("a"), pauses.paused(1.0), pauses.reasons) == (False, ["b"], ["b is down"])
    pauses.failed("a", 2.0, "down again")
    assert "a" not in pauses.paused(3.0)


@given(st.integers(1, 2000), st.floats(0, 1))
def test_no_pause_is_longer_than_the_maximum(failures: int, chance: float) -> None:
    pauses = Pauses[str](RetryPolicy(initial_backoff=0.5, max_backoff=5.0), lambda: chance)
    for _ in range(failures):
        pauses.failed("broker", 0.0, "down")
    assert pauses.paused(5.0) == []
