from __future__ import annotations

import asyncio
import threading

import pytest

from eventwire import Bus, Closed, InvalidEvent
from tests.unit.shop import OrdersPublisher, Placed


def test_publishing_without_an_event_loop() -> None:
    with Bus("memory://").blocking() as bus:
        orders = bus.publisher(OrdersPublisher)
        assert orders.publish(Placed("7")).offset == 0
        assert orders.publish_many([Placed("8"), Placed("9")]).confirmed == 2
        with pytest.raises(InvalidEvent):
            orders.publish(Placed(""))


def test_several_threads_share_one_bus() -> None:
    ids: list[str] = []
    with Bus("memory://").blocking() as bus:
        orders = bus.publisher(OrdersPublisher)
        threads = [
            threading.Thread(target=lambda: ids.append(orders.publish(Placed("7")).id)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(ids)) == 8


def test_it_is_refused_outside_its_block() -> None:
    bus = Bus("memory://").blocking()
    with pytest.raises(Closed, match="not open"):
        bus.publisher(OrdersPublisher).publish(Placed("7"))


def test_a_thread_that_waits_when_the_bus_closes_is_told() -> None:
    outcomes: list[BaseException] = []
    waiting = threading.Event()

    async def never() -> None:
        waiting.set()
        await asyncio.get_running_loop().create_future()

    def wait() -> None:
        try:
            bus.run(never())
        except Exception as error:  # noqa: BLE001  its type is what is tested
            outcomes.append(error)

    with Bus("memory://").blocking() as bus:
        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        waiting.wait(10)
    thread.join(10)
    assert [type(error) for error in outcomes] == [Closed]
