import asyncio

import pytest

from eventwire import Context, InvalidEvent, RetryPolicy, Topic
from eventwire.testing import in_memory
from tests.unit.shop import (
    ORDERS,
    PRICES,
    Cancelled,
    OrdersHandler,
    OrdersPublisher,
    Placed,
    Price,
    PricesPublisher,
)


class Pricing(OrdersHandler):
    async def on_placed(self, event: Placed, context: Context) -> None:
        if event.cents < 0:
            raise ValueError("negative")
        await PricesPublisher(context).publish(Price(event.order_id, event.cents))


async def test_publish_returns_when_everything_is_handled() -> None:
    async with in_memory(Pricing()) as (bus, recorder):
        await OrdersPublisher(bus).publish(Placed("42", 100))
        await OrdersPublisher(bus).publish(Cancelled("42"))
        assert recorder.published(PRICES) == [Price("42", 100)]
        assert recorder.published(ORDERS) == [Placed("42", 100), Cancelled("42")]
        (order, _), (price,) = recorder.messages(ORDERS), recorder.messages(PRICES)
        assert price.header("ce_causationid") == order.header("ce_id")


async def test_a_handlers_error_reaches_the_publisher() -> None:
    async with in_memory(Pricing()) as (bus, recorder):
        with pytest.raises(ValueError, match="negative"):
            await OrdersPublisher(bus).publish(Placed("42", -1))
        assert recorder.published(ORDERS) == [Placed("42", -1)]
        assert recorder.published(PRICES) == []


async def test_retries_as_often_as_told() -> None:
    attempts: list[int] = []

    class Failing(OrdersHandler):
        async def on_placed(self, event: Placed, context: Context) -> None:
            attempts.append(context.attempt)
            if context.attempt < 3:
                raise RuntimeError

    async with in_memory(Failing(), retry=RetryPolicy(max_attempts=3, initial_backoff=0.001)) as (bus, _):
        await OrdersPublisher(bus).publish(Placed("42"))
    assert attempts == [1, 2, 3]


async def test_what_was_not_published_is_not_recorded() -> None:
    async with in_memory() as (bus, recorder):
        with pytest.raises(InvalidEvent):
            await OrdersPublisher(bus).publish(Placed(""))
        assert recorder.published(ORDERS) == []


async def test_settled_waits_for_work_in_the_background() -> None:
    async with in_memory() as (bus, recorder):
        background = asyncio.create_task(OrdersPublisher(bus).publish(Placed("42")))
        assert await recorder.settled(ORDERS, 1) == [Placed("42")]
        await background


async def test_settled_says_what_is_missing() -> None:
    async with in_memory() as (_, recorder):
        with pytest.raises(TimeoutError, match=r"0 of 2 events of shop\.v1 within 0\.01 s"):
            await recorder.settled(ORDERS, 2, within=0.01)


async def test_a_tombstone_is_none() -> None:
    async with in_memory() as (bus, recorder):
        await PricesPublisher(bus).tombstone("sku")
        topic: Topic[Price] = PRICES
        assert recorder.published(topic) == [None]
