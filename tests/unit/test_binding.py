from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest

from eventwire import Context, HandlerError
from eventwire.binding import Call, bind
from eventwire.handler import HandlerFactory
from tests.unit.fakes import FakeDelivery, NoSleep
from tests.unit.shop import ORDERS, PLACED, OrdersHandler, OrdersSyncHandler, Placed

request: ContextVar[str] = ContextVar("request")
ORIGIN: Any = None
NOWHERE = Context(ORIGIN, ORDERS, "g", FakeDelivery(), NoSleep())


class Billing(OrdersHandler):
    def __init__(self, seen: list[str]) -> None:
        self._seen = seen

    async def on_placed(self, event: Placed, context: Context) -> None:
        self._seen.append(event.order_id)


@pytest.fixture
def pool() -> Generator[Executor]:
    with ThreadPoolExecutor(1) as made:
        yield made


def call_of(handler: Any, pool: Executor) -> Call:
    return bind([handler], lambda: pool)[ORDERS][PLACED]


async def test_a_sync_handler_may_raise_stop_iteration(pool: Executor) -> None:
    class Sync(OrdersSyncHandler):
        def on_placed(self, event: Placed, context: Context) -> None:
            next(iter(()))

    with pytest.raises(RuntimeError, match="StopIteration"):
        await call_of(Sync(), pool)(Placed("1"), NOWHERE)


async def test_an_awaitable_that_nobody_awaits_is_no_success(pool: Executor) -> None:
    class Later:
        def __await__(self) -> Generator[Any, None, None]:
            yield

    class Sync(OrdersSyncHandler):
        def on_placed(self, event: Placed, context: Context) -> None:
            return Later()  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

    with pytest.raises(HandlerError, match="nobody awaits it"):
        await call_of(Sync(), pool)(Placed("1"), NOWHERE)


async def test_a_sync_handler_sees_the_context_variables(pool: Executor) -> None:
    seen: list[str] = []

    class Sync(OrdersSyncHandler):
        def on_placed(self, event: Placed, context: Context) -> None:
            seen.append(request.get())

    request.set("r-1")
    await call_of(Sync(), pool)(Placed("1"), NOWHERE)
    assert seen == ["r-1"]


async def test_static_and_class_methods_are_called_as_they_are(pool: Executor) -> None:
    seen: list[str] = []

    class Static(OrdersHandler):
        @staticmethod
        async def on_placed(event: Placed, context: Context) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            seen.append(event.order_id)

    await call_of(Static(), pool)(Placed("1"), NOWHERE)
    assert seen == ["1"]


async def test_a_factory_may_be_given_its_arguments_beforehand(pool: Executor) -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def made(mine: list[str], context: Context) -> AsyncGenerator[Billing]:
        yield Billing(mine)

    factory: HandlerFactory = partial(made, seen)
    await call_of(factory, pool)(Placed("1"), NOWHERE)
    assert seen == ["1"]
