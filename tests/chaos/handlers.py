"""Handlers of one function for any topic."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from eventwire.context import Context
from eventwire.handler import Handler
from eventwire.topic import Topic


def handler_of(topic: Topic[Any], handle: Callable[[Any, Context], Awaitable[None]]) -> Handler:
    """A handler that gives every event of the topic to `handle`."""

    async def on(_: Handler, event: Any, context: Context) -> None:
        await handle(event, context)

    table = {event.handler: on for event in topic.events}
    generated = type("Generated", (Handler,), dict(table), topic=topic)
    handler: Handler = type("Handles", (generated,), dict(table))()
    return handler
