"""Once: what the inbox knows as handled is acknowledged and not handled again."""

from __future__ import annotations

import asyncio
from typing import Any

from eventwire.context import Context
from eventwire.counts import Counts
from eventwire.errors import InboxBusy
from eventwire.inbox.base import Inbox
from eventwire.inbox.key import key_of, require_ids
from eventwire.middleware.base import HandleNext, Middleware
from eventwire.topic import Topic
from eventwire.transport import Features


class Once(Middleware):
    """Innermost, so that each attempt is the inbox's anew. Raises ConfigurationError for topics without ids."""

    def __init__(self, inbox: Inbox, topic: Topic[Any], features: Features, counts: Counts) -> None:
        require_ids(topic, features)
        self._inbox = inbox
        self._counts = counts

    async def on_handle(self, context: Context, call_next: HandleNext) -> None:
        """Handle, or skip. Raises InboxUnavailable."""
        attempt = context.for_attempt()
        handling = _Handling(attempt, call_next)
        try:
            fresh = await self._inbox.once(key_of(context), attempt, handling)
        except asyncio.CancelledError as error:
            if handling.began:
                raise
            # Most likely the attempt's timeout; where it is the worker's end, the wait for the next one ends, too.
            raise InboxBusy("the inbox let nobody in before the attempt was cancelled") from error
        if not fresh:
            context.duplicate = True
            self._counts.duplicates += 1


class _Handling:
    """One attempt of the handler. Waiting for an inbox is none, so a timeout must know whether it began."""

    __slots__ = ("_attempt", "_call_next", "began")

    def __init__(self, attempt: Context, call_next: HandleNext) -> None:
        self._attempt = attempt
        self._call_next = call_next
        self.began = False

    async def __call__(self) -> None:
        self.began = True
        await self._call_next(self._attempt)
        if (task := asyncio.current_task()) is not None and task.cancelling():
            # A handler that swallowed its cancellation has not finished: what it did must not be kept.
            raise asyncio.CancelledError
