from __future__ import annotations

from typing import Any

import pytest

from eventwire import Bus, ConfigurationError, Context, Message, Middleware, PublishUnknown, Receipt
from eventwire.middleware.base import HandleNext, PublishNext, checked, handle_chain, publish_chain


class Noting(Middleware):
    def __init__(self, name: str, notes: list[str]) -> None:
        self.name, self.notes = name, notes

    async def on_publish(self, message: Message, call_next: PublishNext) -> Receipt:
        self.notes.append(self.name)
        return await call_next(message)

    async def on_handle(self, context: Context, call_next: HandleNext) -> None:
        self.notes.append(self.name)
        await call_next(context)
        self.notes.append(f"/{self.name}")


async def test_the_first_is_outermost() -> None:
    notes: list[str] = []

    async def last(_: Context) -> None:
        notes.append("handler")

    there: Any = None
    await handle_chain([Noting("a", notes), Noting("b", notes)], last)(there)
    assert notes == ["a", "b", "handler", "/b", "/a"]


async def test_what_is_not_overridden_is_left_out() -> None:
    async def deliver(message: Message) -> Receipt:
        return Receipt(message.topic, message.id)

    assert publish_chain([Middleware(), Middleware()], deliver) is deliver


class Handling(Middleware):
    async def on_handle(self, context: Context, call_next: HandleNext) -> None:
        await call_next(context)


class Forgetful(Middleware):
    async def on_publish(self, message: Message, call_next: PublishNext) -> Receipt:
        await call_next(message)
        return None  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


class Mistyped(Middleware):
    async def on_handel(self, context: Context, call_next: HandleNext) -> None:
        await call_next(context)


@pytest.mark.parametrize(
    ("middleware", "text"),
    [
        (Handling(), "Handling overrides no `on_publish`: give it to the worker"),
        (Mistyped(), r"Mistyped\.on_handel is never called: did you mean `on_handle`\?"),
        (Handling, "is no middleware: give an instance"),
        (Middleware(), "overrides no `on_publish`"),
    ],
)
def test_what_would_never_be_called_is_refused(middleware: Any, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        Bus("memory://", middleware=[middleware])


def test_a_worker_takes_what_handles() -> None:
    both = Noting("both", [])
    assert checked([Handling(), both], "on_handle")
    with pytest.raises(ConfigurationError, match="give it to the bus"):
        checked([Forgetful()], "on_handle")


async def test_a_publish_without_receipt_is_unknown() -> None:
    async def deliver(message: Message) -> Receipt:
        return Receipt(message.topic, message.id)

    with pytest.raises(PublishUnknown, match="returned no receipt"):
        await publish_chain([Forgetful()], deliver)(Message("t", b"", id="1"))
