from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import pytest

from eventwire import Closed
from eventwire.outbox.life import Life, together


def life(work: Callable[[], Awaitable[None]], grace: float = 30.0) -> Life:
    async def run() -> None:
        await work()

    return Life("relay", run, grace)


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def test_work_that_ends_by_itself_ends_the_run_and_it_runs_once() -> None:
    async def work() -> None:
        ran.append("ran")

    ran: list[str] = []
    run = life(work)
    await run.run()
    assert ran == ["ran"]
    with pytest.raises(Closed, match="a relay runs once"):
        await run.run()
    with pytest.raises(Closed, match="a relay runs once"):
        await run.enter()


async def test_what_the_work_raises_is_raised() -> None:
    async def work() -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        await life(work).run()
    with pytest.raises(KeyError):
        await life(work).enter()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_the_work_and_lets_it_finish(number: signal.Signals) -> None:
    async def work() -> None:
        os.kill(os.getpid(), number)
        await run.stop.wait()
        finished.append("finished")

    finished: list[str] = []
    run = life(work)
    await run.run()
    assert finished == ["finished"]


async def test_a_second_signal_ends_it_now() -> None:
    async def work() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await run.stop.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await forever()

    run = life(work)
    await run.run()


async def test_past_grace_it_is_cancelled() -> None:
    run = life(forever, grace=0.01)
    run.stop.set()
    await run.run()


async def test_a_run_that_is_cancelled_ends_the_work() -> None:
    async def work() -> None:
        began.set()
        try:
            await forever()
        finally:
            ended.append("ended")

    began, ended = asyncio.Event(), list[str]()
    run = asyncio.create_task(life(work).run())
    await began.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert ended == ["ended"]


async def test_in_the_background_it_begins_and_ends_with_the_block() -> None:
    async def work() -> None:
        run.ready.set()
        await run.stop.wait()
        steps.append("stopped")

    steps: list[str] = []
    run = life(work)
    await run.enter()
    steps.append("entered")
    await run.leave()
    assert steps == ["entered", "stopped"]


async def test_work_that_fails_in_the_background_ends_the_block_with_its_error() -> None:
    async def work() -> None:
        run.ready.set()
        await go.wait()
        raise KeyError("a bug")

    run, go = life(work), asyncio.Event()
    await run.enter()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await forever()
    with pytest.raises(KeyError):
        await run.leave()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_entering_that_is_cancelled_ends_the_work() -> None:
    began = asyncio.Event()

    async def work() -> None:
        began.set()
        await forever()

    entering = asyncio.create_task(life(work).enter())
    await began.wait()
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering


async def test_together_ends_with_the_first_and_raises_its_error() -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise KeyError("a bug")

    async def end() -> None:
        await asyncio.sleep(0)

    await together(forever(), end())
    with pytest.raises(KeyError):
        await together(forever(), fail(), forever())
