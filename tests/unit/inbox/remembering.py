"""An inbox of one process, as somebody else would write it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from eventwire import Context
from eventwire.handler import AnyHandler
from eventwire.inbox import Handle, InboxKey


class RememberingInbox:
    """Keeps what was handled in a set."""

    def __init__(self) -> None:
        self.handled: set[InboxKey] = set()
        self.asked: list[InboxKey] = []
        self.checked: list[type[AnyHandler]] = []
        self.lives: list[str] = []

    def check(self, handlers: Sequence[type[AnyHandler]]) -> None:
        self.checked += handlers

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        self.lives.append("began")
        yield
        self.lives.append("ended")

    async def once(self, key: InboxKey, context: Context, handle: Handle) -> bool:
        self.asked.append(key)
        if key in self.handled:
            return False
        context.provide(RememberingInbox, self)
        await handle()
        self.handled.add(key)
        return True
