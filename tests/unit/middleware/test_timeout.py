from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventwire import Context, HandlerTimeout
from eventwire.middleware.timeout import Timeout
from tests.unit.fakes import FakeDelivery, NoSleep
from tests.unit.shop import ORDERS


def context() -> Context:
    bus: Any = None
    return Context(bus, ORDERS, "g", FakeDelivery(), NoSleep())


async def never(_: Context) -> None:
    await asyncio.get_running_loop().create_future()


async def test_an_attempt_that_never_ends_is_cancelled() -> None:
    with pytest.raises(HandlerTimeout, match=r"attempt 1 took longer than 0\.01 s"):
        await Timeout(0.01).on_handle(context(), never)


async def test_a_handler_that_swallows_its_cancellation_timed_out_all_the_same() -> None:
    async def swallows(there: Context) -> None:
        try:
            await never(there)
        except asyncio.CancelledError:
            return

    with pytest.raises(HandlerTimeout):
        await Timeout(0.01).on_handle(context(), swallows)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_timeout_of_the_handlers_own_is_left_as_it_is() -> None:
    async def own(_: Context) -> None:
        async with asyncio.timeout(0):
            await asyncio.get_running_loop().create_future()

    with pytest.raises(TimeoutError) as caught:
        await Timeout(60).on_handle(context(), own)
    assert not isinstance(caught.value, HandlerTimeout)


async def test_a_shorter_one_inside_speaks_for_itself() -> None:
    async def inner(there: Context) -> None:
        await Timeout(0.01).on_handle(there, never)

    with pytest.raises(HandlerTimeout, match=r"0\.01 s"):
        await Timeout(60).on_handle(context(), inner)


async def test_of_two_that_expire_together_the_outer_one_speaks() -> None:
    async def inner(there: Context) -> None:
        await Timeout(0.02).on_handle(there, blocks)

    async def blocks(there: Context) -> None:
        asyncio.get_running_loop().call_later(0.01, __import__("time").sleep, 0.03)
        await never(there)

    with pytest.raises(HandlerTimeout):
        await Timeout(0.02).on_handle(context(), inner)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
