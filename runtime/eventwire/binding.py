"""Binding: from handlers to the functions that are called for each event of each topic."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextvars import copy_context
from functools import partial
from typing import Any, TypeAlias

from eventwire.context import Context
from eventwire.errors import HandlerError
from eventwire.handler import AnyHandler, Entry, Handler, HandlerFactory, SyncHandler, handled, handler_class
from eventwire.keys import decode_key, topic_key
from eventwire.topic import Event, Topic

Call: TypeAlias = Callable[[Any, Context], Awaitable[None]]
Calls: TypeAlias = Mapping[Event[Any] | None, Call]
"""A topic's functions by event; None is for tombstones."""


def bind(
    handlers: Sequence[AnyHandler | HandlerFactory], threads: Callable[[], Executor]
) -> dict[Topic[Any], Calls]:
    """The functions of all handlers, by topic and event. Raises HandlerError.

    `threads` gives the pool for synchronous handlers; it is called when the first of them is called.
    """
    if not handlers:
        raise HandlerError("a worker needs at least one handler")
    bound: dict[Topic[Any], dict[Event[Any] | None, Call]] = {}
    owners: dict[Entry, str] = {}
    for handler in handlers:
        cls = _class_of(handler)
        for name, entry in handled(cls).items():
            if (
                other := owners.setdefault(entry, cls.__qualname__)
            ) != cls.__qualname__ or entry.event in bound.get(entry.topic, ()):
                event = entry.event.full_name if entry.event else "tombstones"
                raise HandlerError(
                    f"{event} of topic {entry.topic.name} has two handlers in one group: {other}, {cls.__qualname__}"
                )
            call = _call(handler, cls, name, threads)
            bound.setdefault(entry.topic, {})[entry.event] = (
                call if entry.event else _with_key(entry.topic, call)
            )
    return {topic: dict(calls) for topic, calls in bound.items()}


def classes_of(handlers: Sequence[AnyHandler | HandlerFactory]) -> tuple[type[AnyHandler], ...]:
    """The handlers' classes, of factories what they make. Raises HandlerError."""
    return tuple(map(_class_of, handlers))


def _class_of(handler: AnyHandler | HandlerFactory) -> type[AnyHandler]:
    if isinstance(handler, Handler | SyncHandler):
        return type(handler)
    if isinstance(handler, type):
        raise HandlerError(
            f"{handler.__qualname__} is a class: give an instance, or a factory for one per delivery"
        )
    return handler_class(handler)


def _call(
    handler: AnyHandler | HandlerFactory, cls: type[AnyHandler], name: str, threads: Callable[[], Executor]
) -> Call:
    if not isinstance(handler, Handler | SyncHandler):
        return _scoped(handler, name, threads)
    method = getattr(handler, name)
    return _in_thread(method, threads) if issubclass(cls, SyncHandler) else method


def _in_thread(method: Callable[[Any, Context], object], threads: Callable[[], Executor]) -> Call:
    def handle(event: Any, context: Context) -> None:
        try:
            outcome = method(event, context)
        except StopIteration as error:  # no future can carry it: the handler would never end
            raise RuntimeError("the handler raised StopIteration") from error
        if inspect.isawaitable(outcome):
            raise HandlerError(
                f"{method.__qualname__} returned an awaitable in a sync handler: nobody awaits it"
            )

    async def call(event: Any, context: Context) -> None:
        run: Callable[..., object] = copy_context().run  # the thread sees the variables that middleware set
        loop = asyncio.get_running_loop()
        context.hand_to_thread(loop)
        work = partial(handle, event, context)
        await loop.run_in_executor(threads(), run, *((context.around, work) if context.around else (work,)))

    return call


def _scoped(factory: HandlerFactory, name: str, threads: Callable[[], Executor]) -> Call:
    async def call(event: Any, context: Context) -> None:
        async with factory(context) as handler:
            method = getattr(handler, name)
            await (_in_thread(method, threads) if isinstance(handler, SyncHandler) else method)(
                event, context
            )

    return call


def _with_key(topic: Topic[Any], call: Call) -> Call:
    """Tombstone methods take the key in the place of the event."""
    kind = topic_key(topic).kind

    async def with_key(_: Any, context: Context) -> None:
        await call(decode_key(context.key or b"", kind), context)

    return with_key
