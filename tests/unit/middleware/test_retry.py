from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventwire import (
    BreakerPolicy,
    Context,
    InboxBusy,
    InboxUnavailable,
    Reject,
    Retry,
    RetryPolicy,
    Undecodable,
    WorkerStopped,
)
from eventwire.counts import Counts
from eventwire.middleware.backoff import backoff
from eventwire.middleware.breaker import Breaker
from eventwire.middleware.retry import Attempts
from tests.unit.fakes import FakeDelivery, NoSleep
from tests.unit.shop import ORDERS

POLICY = RetryPolicy(max_attempts=4, initial_backoff=1, max_backoff=3, backoff_multiplier=2, jitter=0)


def _none(name: str) -> None:
    """No attribute of that name."""


def context(sleeper: NoSleep, key: bytes = b"k") -> Context:
    bus: Any = None
    made = Context(bus, ORDERS, "g", FakeDelivery(key), sleeper)
    incoming: Any = SimpleNamespace(event=ORDERS.events[0], data=None, attribute=_none)
    made.read(incoming)
    return made


QUICK = BreakerPolicy(initial_backoff=0.0001, max_backoff=0.0002)


def attempts(counts: Counts) -> Attempts:
    return Attempts(POLICY, counts, Breaker(QUICK))


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
    await Attempts(POLICY, counts, Breaker(BreakerPolicy())).on_handle(there, handler)
    assert (sleeper.slept, handler.calls, there.attempt, counts.retried) == ([1, 2, 3], 4, 4, 3)


async def test_the_last_error_is_raised_when_attempts_are_used_up() -> None:
    handler = Failing(KeyError("1"), KeyError("2"), KeyError("3"), KeyError("4"), KeyError("5"))
    with pytest.raises(KeyError, match="4"):
        await Attempts(POLICY, Counts(), Breaker(BreakerPolicy())).on_handle(context(NoSleep()), handler)
    assert handler.calls == 4


@pytest.mark.parametrize("error", [Reject("no"), Undecodable("no"), WorkerStopped("no")])
async def test_what_another_attempt_cannot_help_is_not_tried_again(error: Exception) -> None:
    handler = Failing(error)
    with pytest.raises(type(error)):
        await Attempts(POLICY, Counts(), Breaker(BreakerPolicy())).on_handle(context(NoSleep()), handler)
    assert handler.calls == 1


async def test_a_handler_may_say_when() -> None:
    sleeper = NoSleep()
    await Attempts(POLICY, Counts(), Breaker(BreakerPolicy())).on_handle(
        context(sleeper), Failing(Retry(after=7.5), Retry())
    )
    assert sleeper.slept == [7.5, 2]


@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_waits_stay_within_the_policy(attempt: int, chance: float, jitter: float) -> None:
    policy = replace(POLICY, jitter=jitter)
    assert 0 <= backoff(policy, attempt, chance) <= policy.max_backoff
    assert backoff(policy, attempt, 0) >= backoff(policy, attempt, 1)


async def test_a_transient_fault_is_no_attempt_however_often() -> None:
    counts, there, handler = Counts(), context(NoSleep()), Failing(*[ConnectionError()] * 20)
    await attempts(counts).on_handle(there, handler)
    assert (handler.calls, there.attempt, counts.transient, counts.retried) == (21, 1, 20, 0)


async def test_a_fault_that_only_one_event_has_is_its_own() -> None:
    """Others of its type are handled in between: nothing is down."""
    layer, there, slow = attempts(Counts()), context(NoSleep()), Failing(*[TimeoutError()] * 1000)

    async def others() -> None:
        while True:
            await layer.on_handle(context(NoSleep(), b"other"), Failing())
            await asyncio.sleep(0)

    stream = asyncio.create_task(others())
    with pytest.raises(TimeoutError):
        await layer.on_handle(there, slow)
    stream.cancel()
    assert there.attempt == POLICY.max_attempts


async def test_while_the_breaker_is_open_an_attempt_waits_for_it() -> None:
    breaker = Breaker(QUICK)
    breaker.failed(context(NoSleep(), b"other"), ConnectionError(), transient=True)
    handler = Failing()
    await Attempts(POLICY, Counts(), breaker).on_handle(context(NoSleep()), handler)
    assert (handler.calls, breaker.why) == (1, None)


async def test_an_event_that_waits_elsewhere_is_done_with_here() -> None:
    waits: list[float] = []

    async def elsewhere(_: Context, seconds: float) -> bool:
        waits.append(seconds)
        return False

    handler = Failing(*[KeyError()] * 4)
    await Attempts(POLICY, Counts(), Breaker(QUICK), elsewhere).on_handle(context(NoSleep()), handler)
    assert (handler.calls, waits) == (1, [1])


async def test_another_delivery_in_the_way_is_no_attempt_and_no_trouble() -> None:
    sleeper, counts, breaker = NoSleep(), Counts(), Breaker(QUICK)
    handler, there = Failing(*[InboxBusy("another delivery")] * 9), context(sleeper)
    await Attempts(POLICY, counts, breaker).on_handle(there, handler)
    assert (handler.calls, there.attempt, counts.transient, counts.retried) == (10, 1, 9, 0)
    assert all(0.1 <= seconds <= 0.3 for seconds in sleeper.slept)
    assert not breaker.troubled


async def test_an_inbox_out_of_reach_opens_the_breaker() -> None:
    counts, breaker, there = Counts(), Breaker(QUICK), context(NoSleep())
    seen: list[str | None] = []

    async def handler(_: Context) -> None:
        seen.append(breaker.why)
        if len(seen) < 3:
            raise InboxUnavailable("Redis: gone")

    await Attempts(POLICY, counts, breaker).on_handle(there, handler)
    assert (there.attempt, counts.transient) == (1, 2)
    assert seen == [None, *["InboxUnavailable: Redis: gone"] * 2]
    assert breaker.why is None
