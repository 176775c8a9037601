"""What the lanes make of a task that somebody else than they cancelled."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from eventwire.errors import WorkerStopped
from eventwire.lanes import Lanes
from eventwire.runner import Runner
from eventwire.transport import Delivery
from tests.unit.fakes import FakeDelivery
from tests.unit.test_lanes import by_key, running


async def test_a_mark_that_a_handlers_library_leaves_on_the_task_is_no_cancellation() -> None:
    async def handle(_: Delivery, __: Runner) -> None:
        if (task := asyncio.current_task()) is not None:
            task.cancel()
        with suppress(asyncio.CancelledError):  # and no uncancel(): timeouts of before Python 3.11 do so
            await asyncio.sleep(0)

    deliveries = [FakeDelivery(b"%d" % offset, offset=offset) for offset in range(3)]
    async with running(handle, concurrency=1) as lanes, asyncio.timeout(10):
        lanes.put(deliveries)
        await lanes.idle()
    assert [each.settled for each in deliveries] == ["acked"] * 3


@pytest.mark.parametrize("returns", [True, False])
async def test_a_handler_that_cancels_its_own_task_ends_the_lanes_loudly(returns: bool) -> None:
    async def handle(_: Delivery, __: Runner) -> None:
        if (task := asyncio.current_task()) is not None:
            task.cancel()
        if not returns:
            await asyncio.sleep(0)

    lanes = Lanes(handle, by_key, 1)
    lanes.put([FakeDelivery()])
    task = asyncio.create_task(lanes.run())
    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(task, 10)
    assert caught.value.subgroup(WorkerStopped) is not None
