"""Retry in place: the lane waits and the handler is called again."""

from __future__ import annotations

import logging
import random

from eventwire.context import Context
from eventwire.counts import Counts
from eventwire.errors import ReadError, Reject, Retry, WorkerStopped
from eventwire.middleware.base import HandleNext, Middleware
from eventwire.policy import RetryPolicy

_log = logging.getLogger("eventwire.retry")


def backoff(policy: RetryPolicy, attempt: int, chance: float) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1); `chance` is random from 0 to 1."""
    exponent = min(attempt - 1, 1000)
    try:
        wait = policy.initial_backoff * policy.backoff_multiplier**exponent
    except OverflowError:
        wait = policy.max_backoff
    wait = min(wait, policy.max_backoff)
    return wait * (1 - policy.jitter * chance)


class RetryInPlace(Middleware):
    """Calls again until it succeeds or the attempts are used up; then raises the last error.

    Errors of reading and Reject are never tried again.
    """

    def __init__(self, policy: RetryPolicy, counts: Counts) -> None:
        self._policy = policy
        self._counts = counts

    async def on_handle(self, context: Context, call_next: HandleNext) -> None:
        """One or more attempts."""
        while True:
            try:
                return await call_next(context)
            except (ReadError, Reject, WorkerStopped):
                raise
            except Exception as error:
                if context.attempt >= self._policy.max_attempts:
                    raise
                await self._wait(context, error)

    async def _wait(self, context: Context, error: Exception) -> None:
        seconds = error.after if isinstance(error, Retry) else None
        if seconds is None:
            seconds = backoff(self._policy, context.attempt, random.random())  # noqa: S311  spreads retries, no secret
        _log.info(
            "%s of %s failed at attempt %d in group %s, next in %.3f s: %s",
            context.id, context.topic.name, context.attempt, context.group, seconds, type(error).__name__,
            exc_info=error if _log.isEnabledFor(logging.DEBUG) else None,
        )  # fmt: skip
        self._counts.retried += 1
        await context.sleep(seconds)
        context.attempt += 1
        context.parse()
