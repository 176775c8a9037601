"""Reading: from the message to the event, and what becomes of an event that is unknown or that nobody handles."""

from __future__ import annotations

import logging
from collections.abc import Collection

from eventwire.context import Context
from eventwire.counts import Counts
from eventwire.errors import UnknownEvent, WorkerStopped
from eventwire.middleware.base import HandleNext, Middleware
from eventwire.policy import Unhandled, UnknownEvents
from eventwire.topic import Event
from eventwire.wire.reader import Reader

_log = logging.getLogger("eventwire.read")
_REMEMBERED = 1000
"""How many types are remembered as warned of: their names come from outside."""


class Read(Middleware):
    """Tells the event apart, skips it unread when nobody wants it, else parses it and goes on.

    `wanted` holds the events that have a handler, and None when tombstones do.
    """

    def __init__(
        self,
        reader: Reader,
        wanted: Collection[Event[object] | None],
        unknown: UnknownEvents,
        unhandled: Unhandled,
        counts: Counts,
    ) -> None:
        self._reader = reader
        self._wanted = frozenset(wanted)
        self._unknown = unknown
        self._unhandled = unhandled
        self._counts = counts
        self._warned: set[str] = set()

    async def on_handle(self, context: Context, call_next: HandleNext) -> None:
        """Read, then go on."""
        try:
            incoming = self._reader.read(context.message)
        except UnknownEvent as error:
            self._refuse_unknown(context, error)
            return
        context.read(incoming)
        if (incoming.event if incoming.data is not None else None) not in self._wanted:
            self._refuse_unhandled(context)
            return
        context.parse()
        await call_next(context)
        if context.postponed:
            self._counts.postponed += 1
        else:
            self._counts.handled += not context.duplicate

    def _refuse_unknown(self, context: Context, error: UnknownEvent) -> None:
        if self._unknown is UnknownEvents.DEAD_LETTER:
            raise error
        if self._unknown is UnknownEvents.FAIL:
            raise WorkerStopped(f"group {context.group}: {error}") from error
        self._counts.unknown += 1
        self._warn(f"{error}: skipped, as `unknown_events` says")

    def _refuse_unhandled(self, context: Context) -> None:
        text = f"topic {context.topic.name}: no handler of group {context.group} takes {context.type}"
        if self._unhandled is Unhandled.DEAD_LETTER:
            raise UnknownEvent(text)
        if self._unhandled is Unhandled.FAIL:
            raise WorkerStopped(text)
        self._counts.unhandled += 1
        self._warn(f"{text}: skipped, as `unhandled` says")

    def _warn(self, text: str) -> None:
        if text not in self._warned and len(self._warned) < _REMEMBERED:
            self._warned.add(text)
            _log.warning("%s", text)
