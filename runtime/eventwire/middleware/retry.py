"""Retry: how often a handler is called for an event, and where the event waits in between."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from eventwire.context import Context
from eventwire.counts import Counts
from eventwire.errors import InboxBusy, ReadError, Reject, Retry, WorkerStopped
from eventwire.middleware.backoff import backoff
from eventwire.middleware.base import HandleNext, Middleware
from eventwire.middleware.breaker import Breaker
from eventwire.policy import RetryPolicy
from eventwire.topic import Event

_log = logging.getLogger("eventwire.retry")
_BUSY = 0.2
"""Seconds to leave the way to another delivery."""


Postpone: TypeAlias = Callable[[Context, float], Awaitable[bool]]
"""Lets an event wait so many seconds for its next attempt. True when it has waited and goes on here, False when it was
put elsewhere and this delivery is done with."""


async def in_place(context: Context, seconds: float) -> bool:
    """The event's key waits, and the handler is called again."""
    await context.sleep(seconds)
    context.attempt += 1
    context.parse()
    return True


class Attempts(Middleware):
    """Calls until it succeeds or the attempts are used up; then raises the last error. For one topic.

    Errors of reading and Reject are never tried again. A transient fault is no attempt: the breaker pauses everything
    and the event is tried again, for as long as it takes. But where other events of its type are handled meanwhile, it
    is the event's own fault (a call that only this event makes too slow), and counts. InboxBusy is neither.
    """

    def __init__(
        self, policy: RetryPolicy, counts: Counts, breaker: Breaker, postpone: Postpone = in_place
    ) -> None:
        self._policy = policy
        self._postpone = postpone
        self._counts = counts
        self._breaker = breaker
        self._handled: Counter[Event[object]] = Counter()

    async def on_handle(self, context: Context, call_next: HandleNext) -> None:
        """One or more attempts."""
        breaker, kind = self._breaker, context.incoming.event
        handled: int | None = None
        try:
            while True:
                if breaker.why is not None:
                    await breaker.admit(context)
                try:
                    await call_next(context)
                except (ReadError, Reject, WorkerStopped):
                    raise
                except Exception as error:
                    counted = self._counts_as_attempt(context, error, handled)
                    handled = self._handled[kind]
                    if counted and context.attempt >= self._policy.max_attempts:
                        raise
                    if not await self._again(context, error, counted=counted):
                        return
                else:
                    self._handled[kind] += 1
                    if breaker.troubled:
                        breaker.succeeded()
                    return
        finally:
            if breaker.troubled:
                breaker.ended(context)

    async def _make_way(self, context: Context, error: InboxBusy) -> None:
        """Another delivery is in the way: nothing is out of reach and nothing failed, so only this one waits."""
        self._breaker.ended(context)
        _log.info("%s of %s waits in group %s: %s", context.id, context.topic.name, context.group, error)
        await context.sleep(_BUSY * (0.5 + random.random()))  # noqa: S311  spreads retries, no secret

    def _counts_as_attempt(self, context: Context, error: Exception, handled: int | None) -> bool:
        """Tell the breaker. `handled`: how many of its type had been handled when the event failed before."""
        if isinstance(error, Retry | InboxBusy):
            return isinstance(error, Retry)
        own = handled is not None and handled != self._handled[context.incoming.event]
        transient = not own and self._breaker.is_transient(error)
        self._breaker.failed(context, error, transient=transient)
        return not transient

    async def _again(self, context: Context, error: Exception, *, counted: bool) -> bool:
        """Wait for the next attempt; for one that is none the breaker's wait comes first. Whether to go on here."""
        if not counted:
            self._counts.transient += 1
            if isinstance(error, InboxBusy):
                await self._make_way(context, error)
            context.parse()
            return True
        seconds = self._seconds(context, error)
        _log.info(
            "%s of %s failed at attempt %d in group %s, next in %.3f s: %s",
            context.id, context.topic.name, context.attempt, context.group, seconds, type(error).__name__,
            exc_info=error if _log.isEnabledFor(logging.DEBUG) else None,
        )  # fmt: skip
        self._counts.retried += 1
        return await self._postpone(context, seconds)

    def _seconds(self, context: Context, error: Exception) -> float:
        after = error.after if isinstance(error, Retry) else None
        if after is not None:
            return after
        return backoff(self._policy, context.attempt, random.random())  # noqa: S311  spreads retries, no secret
