"""Handlers: the classes that generated ones derive from, and what a handler class handles.

A generated class names its topic (`class OrdersHandler(Handler, topic=ORDERS)`). A class derived from one or several of
them overrides `on_*` methods; one that is no event is refused when the class is made.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    NamedTuple,
    TypeAlias,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from eventwire.errors import HandlerError
from eventwire.topic import Event, Topic

if TYPE_CHECKING:
    from eventwire.context import Context

TOMBSTONE = "on_tombstone"


class Entry(NamedTuple):
    """What a handler method is for; `event` is None for tombstones."""

    topic: Topic[Any]
    event: Event[Any] | None


class _Handles:
    """What both kinds of handlers share: the table of their methods, checked when a class is made."""

    eventwire_entries: ClassVar[Mapping[str, Entry]] = {}
    eventwire_generated: ClassVar[bool] = True
    eventwire_sync: ClassVar[bool] = False

    def __init_subclass__(cls, *, topic: Topic[Any] | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.eventwire_generated = cls.__module__ == __name__ or topic is not None
        cls.eventwire_entries = _merged(cls, topic)
        if not cls.eventwire_generated:
            _check(cls, cls.eventwire_entries, is_sync=cls.eventwire_sync)


def _merged(cls: type[_Handles], topic: Topic[Any] | None) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for base in reversed(cls.__mro__[1:]):
        inherited: Mapping[str, Entry] = vars(base).get("eventwire_entries", {})
        for name, entry in inherited.items():
            if entries.setdefault(name, entry) != entry:
                raise HandlerError(
                    f"{cls.__qualname__}: `{name}` belongs to topic {entries[name].topic.name} and to "
                    f"{entry.topic.name}: write a handler class for each"
                )
    if topic is None:
        return entries
    entries |= {event.handler: Entry(topic, event) for event in topic.events}
    if topic.compact:
        entries[TOMBSTONE] = Entry(topic, None)
    return entries


def _check(cls: type[_Handles], entries: Mapping[str, Entry], *, is_sync: bool) -> None:
    for base in cls.__mro__:
        if issubclass(base, _Handles) and base.eventwire_generated:
            continue
        kind = cast("type[object]", base)
        for name in vars(kind):
            method = getattr(
                kind, name
            )  # as it is called: out of its classmethod, staticmethod, partialmethod
            if name.startswith("on_") and callable(method):
                _check_method(cls, name, method, entries, is_sync=is_sync)


def _check_method(cls: type, name: str, method: Any, entries: Mapping[str, Entry], *, is_sync: bool) -> None:
    if name not in entries:
        near = difflib.get_close_matches(name, entries, 1)
        hint = (
            f"did you mean `{near[0]}`?" if near else f"its events are {', '.join(sorted(entries)) or 'none'}"
        )
        raise HandlerError(f"{cls.__qualname__}.{name} handles no event of its topics: {hint}")
    if is_sync and inspect.iscoroutinefunction(method):
        raise HandlerError(
            f"{cls.__qualname__}.{name} is `async def` in a sync handler: write `def`, or derive from Handler"
        )
    if not is_sync and inspect.isroutine(method) and not inspect.iscoroutinefunction(inspect.unwrap(method)):
        raise HandlerError(
            f"{cls.__qualname__}.{name} is a plain `def`: write `async def`, or derive from the SyncHandler"
        )
    if _inherited(cls, name):
        raise HandlerError(
            f"{cls.__qualname__}.{name} is hidden by the generated method: name its class before the generated one"
        )


class Handler(_Handles):
    """Base of generated handlers. Methods run in the event loop, concurrently for different keys."""


class SyncHandler(_Handles):
    """Base of generated handlers for synchronous code. Methods run in threads, concurrently for different keys.

    A thread cannot be cancelled: past a timeout or the worker's grace it runs on, and its event is delivered again.
    """

    eventwire_sync = True


AnyHandler: TypeAlias = Handler | SyncHandler
HandlerFactory: TypeAlias = "Callable[[Context], AbstractAsyncContextManager[AnyHandler]]"
"""Makes a handler for one delivery; its annotated return type tells the handler class."""


def handled(cls: type[AnyHandler]) -> dict[str, Entry]:
    """The methods that a class overrides, with what each is for. Raises HandlerError when there are none."""
    entries = {name: entry for name, entry in cls.eventwire_entries.items() if not _inherited(cls, name)}
    if not entries:
        raise HandlerError(
            f"{cls.__qualname__} overrides no event: {', '.join(sorted(cls.eventwire_entries)) or 'no topic either'}"
        )
    return entries


def _inherited(cls: type, name: str) -> bool:
    """Whether the method found first is a generated one, or there is none."""
    owner = next((base for base in cls.__mro__ if name in vars(base)), _Handles)
    return issubclass(owner, _Handles) and owner.eventwire_generated


def handler_class(factory: HandlerFactory) -> type[AnyHandler]:
    """The class of the handlers that a factory makes, by its return annotation. Raises HandlerError."""
    made: Any = factory
    while isinstance(made, partial):
        made = made.func
    function = inspect.unwrap(made)
    try:
        hints = get_type_hints(function if inspect.isroutine(function) else type(function).__call__)
    except (NameError, TypeError) as error:
        raise HandlerError(
            f"the annotations of handler factory {_name(factory)} cannot be resolved: {error}"
        ) from error
    for candidate in get_args(hints.get("return")):
        candidate = get_origin(candidate) or candidate  # noqa: PLW2901  Billing[int] makes a Billing
        if isinstance(candidate, type) and issubclass(candidate, Handler | SyncHandler):
            return candidate
    raise HandlerError(
        f"handler factory {_name(factory)} does not tell what it makes: annotate it, for example "
        "`-> AsyncGenerator[Billing]` under @asynccontextmanager"
    )


def _name(factory: object) -> str:
    return str(getattr(factory, "__qualname__", factory))
