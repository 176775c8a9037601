from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventwire import Context, Reject, Retry, RetryPolicy, Undecodable, WorkerStopped
from eventwire.counts import Counts
from eventwire.middleware.retry import RetryInPlace, backoff
from tests.unit.fakes import FakeDelivery, NoSleep
from tests.unit.shop import ORDERS

POLICY = RetryPolicy(max_attempts=4, initial_backoff=1, max_backoff=3, backoff_multiplier=2, jitter=0)


def context(sleeper: NoSleep) -> Context:
    bus: Any = None
    return Context(bus, ORDERS, "g", FakeDelivery(), sleeper)


class Failing:
    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self, _: Context) -> None:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)


async def test_it_tries_until_it_succeeds_with_growing_waits() -> None:
    sleeper, handler, counts = NoSleep(), Failing(*[KeyError()] * 3), Counts()
    there = context(sleeper)
    await RetryInPlace(POLICY, counts).on_handle(there, handler)
    assert (sleeper.slept, handler.calls, there.attempt, counts.retried) == ([1, 2, 3], 4, 4, 3)


async def test_the_last_error_is_raised_when_attempts_are_used_up() -> None:
    handler = Failing(KeyError("1"), KeyError("2"), KeyError("3"), KeyError("4"), KeyError("5"))
    with pytest.raises(KeyError, match="4"):
        await RetryInPlace(POLICY, Counts()).on_handle(context(NoSleep()), handler)
    assert handler.calls == 4


@pytest.mark.parametrize("error", [Reject("no"), Undecodable("no"), WorkerStopped("no")])
async def test_what_another_attempt_cannot_help_is_not_tried_again(error: Exception) -> None:
    handler = Failing(error)
    with pytest.raises(type(error)):
        await RetryInPlace(POLICY, Counts()).on_handle(context(NoSleep()), handler)
    assert handler.calls == 1


async def test_a_handler_may_say_when() -> None:
    sleeper = NoSleep()
    await RetryInPlace(POLICY, Counts()).on_handle(context(sleeper), Failing(Retry(after=7.5), Retry()))
    assert sleeper.slept == [7.5, 2]


@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_waits_stay_within_the_policy(attempt: int, chance: float, jitter: float) -> None:
    policy = replace(POLICY, jitter=jitter)
    assert 0 <= backoff(policy, attempt, chance) <= policy.max_backoff
    assert backoff(policy, attempt, 0) >= backoff(policy, attempt, 1)
