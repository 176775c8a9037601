from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventwire import BreakerPolicy, Context, InvalidEvent, PublishFailed, PublishUnknown, TooLarge
from eventwire.middleware.breaker import Breaker
from tests.unit.fakes import FakeDelivery, NoSleep
from tests.unit.shop import ORDERS

POLICY = BreakerPolicy(failures=4, keys=3, initial_backoff=0.001, max_backoff=0.004)


def context(key: bytes = b"k") -> Context:
    bus: Any = None
    return Context(bus, ORDERS, "g", FakeDelivery(key), NoSleep())


def test_it_opens_for_one_transient_fault() -> None:
    breaker = Breaker(POLICY)
    breaker.failed(context(), ConnectionError("no route"), transient=True)
    assert breaker.why == "ConnectionError: no route"


def test_one_key_that_fails_again_and_again_is_its_own_fault() -> None:
    breaker = Breaker(POLICY)
    for _ in range(100):
        breaker.failed(context(b"poison"), KeyError(), transient=False)
    assert breaker.why is None


def test_failures_over_several_keys_open_it() -> None:
    breaker = Breaker(POLICY)
    for key in (b"a", b"b", b"c"):
        breaker.failed(context(key), KeyError("x"), transient=False)
        assert breaker.why is None
    breaker.failed(context(b"a"), KeyError("x"), transient=False)
    assert breaker.why == "KeyError: 'x'"


def test_a_success_in_between_begins_the_count_again() -> None:
    breaker = Breaker(POLICY)
    for key in (b"a", b"b", b"c"):
        breaker.failed(context(key), KeyError("x"), transient=False)
    breaker.succeeded()
    assert not breaker.troubled
    for key in (b"d", b"e", b"f"):
        breaker.failed(context(key), KeyError("x"), transient=False)
    assert breaker.why is None


async def test_after_the_wait_one_attempt_is_admitted_and_its_success_lets_all_go_on() -> None:
    breaker = Breaker(POLICY)
    breaker.failed(context(), ConnectionError(), transient=True)
    first, second = context(b"a"), context(b"b")
    await breaker.admit(first)
    waiting = asyncio.create_task(breaker.admit(second))
    await asyncio.sleep(0.02)  # many times the wait: it is the probe that it waits for
    assert not waiting.done()
    breaker.succeeded()
    await waiting
    assert breaker.why is None


async def test_a_probe_that_fails_or_ends_without_a_verdict_lets_another_try() -> None:
    breaker = Breaker(POLICY)
    breaker.failed(context(), ConnectionError(), transient=True)
    probe = context(b"a")
    await breaker.admit(probe)
    breaker.failed(probe, ConnectionError("still"), transient=True)
    assert breaker.why == "ConnectionError: still"
    cancelled = context(b"b")
    await breaker.admit(cancelled)
    breaker.ended(cancelled)
    await breaker.admit(context(b"c"))


async def test_a_failure_that_began_before_it_opened_changes_nothing() -> None:
    breaker = Breaker(POLICY)
    breaker.failed(context(b"a"), ConnectionError("first"), transient=True)
    breaker.failed(context(b"b"), ConnectionError("late"), transient=True)
    assert breaker.why == "ConnectionError: first"


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (PublishUnknown("?"), True),
        (PublishFailed("not sent"), True),
        (InvalidEvent("no key"), False),
        (TooLarge("big"), False),
        (OSError("disk"), False),
        (ValueError(), False),
        (ExceptionGroup("a handler's TaskGroup", [ConnectionError(), TimeoutError()]), True),
        (ExceptionGroup("a handler's TaskGroup", [ConnectionError(), ValueError()]), False),
    ],
)
def test_what_is_out_of_reach_is_transient_and_what_is_wrong_is_not(
    error: Exception, transient: bool
) -> None:
    assert Breaker(POLICY).is_transient(error) is transient


def test_the_classes_are_the_workers_to_choose() -> None:
    assert Breaker(POLICY, (KeyError,)).is_transient(KeyError())
    assert not Breaker(POLICY, ()).is_transient(ConnectionError())
