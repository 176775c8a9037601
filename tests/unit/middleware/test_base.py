from __future__ import annotations

from typing import Any

from eventwire import Context, Message, Middleware, Receipt
from eventwire.middleware.base import HandleNext, PublishNext, handle_chain, publish_chain


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
