"""Middleware: code around every publish and every handling, each calling the next."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TypeAlias

from eventwire.context import Context
from eventwire.message import Message, Receipt

PublishNext: TypeAlias = Callable[[Message], Awaitable[Receipt]]
HandleNext: TypeAlias = Callable[[Context], Awaitable[None]]


class Middleware:
    """Override one or both; what is not overridden costs nothing.

    One instance serves all messages of its bus or worker concurrently. An exception raised in `on_handle` sets the
    event aside (dead letter), without another attempt; returning means that the event may be acknowledged, so swallow
    nothing that must not be lost.
    """

    async def on_publish(self, message: Message, call_next: PublishNext) -> Receipt:
        """Around one publish."""
        return await call_next(message)

    async def on_handle(self, context: Context, call_next: HandleNext) -> None:
        """Around the handling of one delivery."""
        await call_next(context)


def publish_chain(middleware: Iterable[Middleware], last: PublishNext) -> PublishNext:
    """`last` inside every middleware that overrides `on_publish`, the first outermost."""
    for each in reversed(tuple(middleware)):
        if type(each).on_publish is not Middleware.on_publish:
            last = partial(_publish, each, last)
    return last


def handle_chain(middleware: Iterable[Middleware], last: HandleNext) -> HandleNext:
    """`last` inside every middleware that overrides `on_handle`, the first outermost."""
    for each in reversed(tuple(middleware)):
        if type(each).on_handle is not Middleware.on_handle:
            last = partial(_handle, each, last)
    return last


def _publish(each: Middleware, call_next: PublishNext, message: Message) -> Awaitable[Receipt]:
    return each.on_publish(message, call_next)


def _handle(each: Middleware, call_next: HandleNext, context: Context) -> Awaitable[None]:
    return each.on_handle(context, call_next)
