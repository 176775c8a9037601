# Classes that are refused are never used.
# pyright: reportUnusedClass=false
from __future__ import annotations

import functools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import pytest

from eventwire import Context, Handler, HandlerError
from eventwire.handler import HandlerFactory, handled, handler_class
from tests.unit.shop import (
    CANCELLED,
    ORDERS,
    PLACED,
    PRICES,
    Cancelled,
    OrdersHandler,
    OrdersSyncHandler,
    Placed,
    Price,
    PricesHandler,
)

T = TypeVar("T")


class Billing(OrdersHandler):
    async def on_placed(self, event: Placed, context: Context) -> None:
        """Bill."""


def test_only_what_is_overridden_is_handled() -> None:
    entries = handled(Billing)
    assert {name: (entry.topic, entry.event) for name, entry in entries.items()} == {
        "on_placed": (ORDERS, PLACED)
    }


def test_a_method_that_is_no_event_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(
        HandlerError, match=r"on_palced handles no event of its topics: did you mean `on_placed`\?"
    ):

        class Typo(OrdersHandler):
            async def on_palced(self, event: Placed, context: Context) -> None: ...


def test_a_mixin_is_checked_too() -> None:
    class Mixin:
        def on_nothing_of_the_sort(self) -> None: ...

    with pytest.raises(HandlerError, match="on_nothing_of_the_sort"):

        class Mixed(Mixin, OrdersHandler): ...


def test_a_plain_method_in_an_async_handler_is_refused() -> None:
    with pytest.raises(HandlerError, match="plain `def`"):

        class Plain(OrdersHandler):
            def on_placed(self, event: Placed, context: Context) -> None: ...  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]


def test_a_coroutine_in_a_sync_handler_is_refused() -> None:
    with pytest.raises(HandlerError, match="`async def` in a sync handler"):

        class Async(OrdersSyncHandler):
            async def on_placed(self, event: Placed, context: Context) -> None: ...  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]


def test_one_class_may_handle_two_topics() -> None:
    class Both(OrdersHandler, PricesHandler):
        async def on_cancelled(self, event: Cancelled, context: Context) -> None: ...

        async def on_price(self, event: Price, context: Context) -> None: ...

    assert {entry.topic for entry in handled(Both).values()} == {ORDERS, PRICES}


def test_overrides_are_inherited() -> None:
    class Child(Billing):
        async def on_cancelled(self, event: Cancelled, context: Context) -> None: ...

    assert {entry.event for entry in handled(Child).values()} == {PLACED, CANCELLED}


def test_a_handler_of_nothing_is_refused() -> None:
    class Nothing(OrdersHandler): ...

    with pytest.raises(HandlerError, match="overrides no event: on_cancelled, on_placed"):
        handled(Nothing)


def test_two_topics_with_one_method_name_are_refused() -> None:
    class OtherHandler(Handler, topic=replace(ORDERS, name="other.v1")):
        async def on_placed(self, event: Placed, context: Context) -> None: ...

    with pytest.raises(HandlerError, match=r"`on_\w+` belongs to topic"):

        class Both(OrdersHandler, OtherHandler): ...


def test_a_factory_tells_its_class_by_its_annotation() -> None:
    @asynccontextmanager
    async def billing(context: Context) -> AsyncGenerator[Billing]:
        yield Billing()

    assert handler_class(billing) is Billing


async def untold(context: Context) -> AsyncGenerator[Any]:
    yield Billing()


def test_a_factory_without_annotation_is_refused() -> None:
    factory: HandlerFactory = asynccontextmanager(untold)
    with pytest.raises(HandlerError, match="does not tell what it makes"):
        handler_class(factory)


def test_a_class_method_that_is_no_event_is_refused_too() -> None:
    with pytest.raises(HandlerError, match=r"did you mean `on_placed`\?"):

        class Typo(OrdersHandler):
            @classmethod
            async def on_palced(cls, event: Placed, context: Context) -> None: ...


def decorated(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*arguments: Any) -> Any:
        return function(*arguments)

    return wrapper


def test_a_decorated_coroutine_is_a_handler_and_a_decorated_function_is_none() -> None:
    class Decorated(OrdersHandler):
        @decorated
        async def on_placed(self, event: Placed, context: Context) -> None: ...

    assert list(handled(Decorated)) == ["on_placed"]
    with pytest.raises(HandlerError, match="plain `def`"):

        class Plain(OrdersHandler):
            @decorated
            def on_placed(self, event: Placed, context: Context) -> None: ...  # pyright: ignore[reportIncompatibleMethodOverride]


def test_a_mixin_that_the_generated_class_hides_is_refused() -> None:
    class Mixin:
        async def on_placed(self, event: Placed, context: Context) -> None: ...

    class Before(Mixin, OrdersHandler): ...

    assert list(handled(Before)) == ["on_placed"]
    with pytest.raises(HandlerError, match="on_placed is hidden by the generated method"):

        class After(OrdersHandler, Mixin): ...


class Of(OrdersHandler, Generic[T]):
    async def on_placed(self, event: Placed, context: Context) -> None: ...


@asynccontextmanager
async def of(context: Context) -> AsyncGenerator[Of[int]]:
    yield Of[int]()


def test_a_dataclass_and_a_generic_class_may_be_handlers() -> None:
    @dataclass(slots=True)
    class Data(OrdersHandler):
        name: str

        async def on_placed(self, event: Placed, context: Context) -> None: ...

    assert list(handled(Data)) == ["on_placed"]
    assert handler_class(of) is Of


def test_one_topic_from_two_modules_is_refused() -> None:
    class AgainHandler(Handler, topic=replace(ORDERS)):
        async def on_placed(self, event: Placed, context: Context) -> None: ...

    with pytest.raises(HandlerError, match=r"belongs to topic shop\.v1 and to shop\.v1"):

        class Both(OrdersHandler, AgainHandler): ...
