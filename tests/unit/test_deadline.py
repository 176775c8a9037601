from __future__ import annotations

import asyncio

import pytest

from eventwire import ConfigurationError
from eventwire.deadline import Deadlines


async def test_what_takes_too_long_is_cancelled_and_raises_timeout() -> None:
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    with pytest.raises(TimeoutError), Deadlines(0.01).guard():
        await never
    assert never.cancelled()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_what_is_done_in_time_leaves_no_trace() -> None:
    deadlines = Deadlines(0.01)
    for _ in range(3):
        with deadlines.guard():
            await asyncio.sleep(0)
    with deadlines.guard():  # the timer of the first guard fires in here and must not hit this one early
        await asyncio.sleep(0)


async def test_an_outer_cancellation_stays_one() -> None:
    entered = asyncio.Event()

    async def work() -> None:
        with Deadlines(60).guard():
            entered.set()
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_each_of_many_guards_expires() -> None:
    deadlines = Deadlines(0.01)

    async def work() -> None:
        with deadlines.guard():
            await asyncio.get_running_loop().create_future()

    outcomes = await asyncio.gather(*(work() for _ in range(50)), return_exceptions=True)
    assert [type(each) for each in outcomes] == [TimeoutError] * 50


async def test_an_error_inside_passes_through() -> None:
    with pytest.raises(KeyError), Deadlines(60).guard():
        raise KeyError


def test_another_event_loop_is_refused_rather_than_left_without_a_clock() -> None:
    deadlines = Deadlines(60)

    async def work() -> None:
        with deadlines.guard():
            await asyncio.sleep(0)

    asyncio.run(work())
    with pytest.raises(ConfigurationError, match="used in another"):
        asyncio.run(work())


async def test_a_guard_in_the_cleanup_of_an_expired_one_still_works() -> None:
    cleaned: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            with Deadlines(60).guard():
                await asyncio.sleep(0)
            cleaned.append(True)

    with pytest.raises(TimeoutError), Deadlines(0.01).guard():
        await work()
    assert cleaned


async def test_a_cancellation_in_the_tick_of_the_expiry_is_not_lost() -> None:
    guard, entered = Deadlines(60).guard(), asyncio.Event()

    async def work() -> None:
        with guard:
            entered.set()
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(work())
    await entered.wait()
    guard.expire()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
