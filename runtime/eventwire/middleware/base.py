"""Middleware: code around every publish and every handling, each calling the next."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TypeAlias

from eventwire.context import Context
from eventwire.errors import ConfigurationError, PublishUnknown
from eventwire.message import Message, Receipt

PublishNext: TypeAlias = Callable[[Message], Awaitable[Receipt]]
HandleNext: TypeAlias = Callable[[Context], Awaitable[None]]


class Middleware:
    """Override one or both; what is not overridden costs nothing.

    Give a bus those that override `on_publish`, a worker those that override `on_handle`. One instance serves all
    messages concurrently. `on_handle` is around all attempts of an event that was read and has a handler; an exception
    raised there sets the event aside (dead letter), without another attempt; returning means that the event may be
    acknowledged, so swallow nothing that must not be lost.
    """

    async def on_publish(self, message: Message, call_next: PublishNext) -> Receipt:
        """Around one publish."""
        return await call_next(message)

    async def on_handle(self, context: Context, call_next: HandleNext) -> None:
        """Around the handling of one delivery."""
        await call_next(context)


def overrides(each: Middleware, name: str) -> bool:
    """Whether a middleware overrides `on_publish` or `on_handle`."""
    return getattr(type(each), name) is not getattr(Middleware, name)


def checked(middleware: Iterable[Middleware], name: str) -> tuple[Middleware, ...]:
    """The middleware, each of which overrides `name`. Raises ConfigurationError for one that would never be called."""
    found = tuple(middleware)
    for each in found:
        if not isinstance(each, Middleware):  # pyright: ignore[reportUnnecessaryIsInstance]  users may not type-check
            raise ConfigurationError(
                f"{each!r} is no middleware: give an instance of a class derived from Middleware"
            )
        _refuse_typos(type(each))
        if not overrides(each, name):
            place = (
                "worker, a bus runs only `on_publish`"
                if name == "on_publish"
                else "bus, a worker runs only `on_handle`"
            )
            raise ConfigurationError(
                f"{type(each).__qualname__} overrides no `{name}`: give it to the {place}"
            )
    return found


def _refuse_typos(cls: type[Middleware]) -> None:
    known = ("on_publish", "on_handle")
    for name in dir(cls):
        if name.startswith("on_") and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean `{near[0]}`?" if near else f"there are {' and '.join(known)}"
            raise ConfigurationError(f"{cls.__qualname__}.{name} is never called: {hint}")


def publish_chain(middleware: Iterable[Middleware], last: PublishNext) -> PublishNext:
    """`last` inside every middleware that overrides `on_publish`, the first outermost."""
    around = [each for each in middleware if overrides(each, "on_publish")]
    for each in reversed(around):
        last = partial(_publish, each, last)
    return partial(_with_receipt, last) if around else last


def handle_chain(middleware: Iterable[Middleware], last: HandleNext) -> HandleNext:
    """`last` inside every middleware that overrides `on_handle`, the first outermost."""
    for each in reversed(tuple(middleware)):
        if overrides(each, "on_handle"):
            last = partial(_handle, each, last)
    return last


async def _with_receipt(call_next: PublishNext, message: Message) -> Receipt:
    receipt = await call_next(message)
    if not isinstance(receipt, Receipt):  # pyright: ignore[reportUnnecessaryIsInstance]  users may not type-check
        raise PublishUnknown(
            "a middleware returned no receipt: end it with `return await call_next(message)`", message
        )
    return receipt


def _publish(each: Middleware, call_next: PublishNext, message: Message) -> Awaitable[Receipt]:
    return each.on_publish(message, call_next)


def _handle(each: Middleware, call_next: HandleNext, context: Context) -> Awaitable[None]:
    return each.on_handle(context, call_next)
