"""Once: what the inbox knows as handled is acknowledged and not handled again."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from eventwire.context import Context
from eventwire.counts import Counts
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
        if not await self._inbox.once(key_of(context), attempt, partial(_handle, attempt, call_next)):
            context.duplicate = True
            self._counts.duplicates += 1


async def _handle(attempt: Context, call_next: HandleNext) -> None:
    """A handler that swallowed its cancellation has not finished: what it did must not be kept."""
    await call_next(attempt)
    if (task := asyncio.current_task()) is not None and task.cancelling():
        raise asyncio.CancelledError
