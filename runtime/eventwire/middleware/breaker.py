"""The circuit breaker: tells a fault of the events from one of what they all need, and stops trying for the latter."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import time
from typing import cast

from eventwire.context import Context
from eventwire.errors import InboxUnavailable, PublishFailed, PublishUnknown, Unreachable
from eventwire.middleware.backoff import grown
from eventwire.policy import BreakerPolicy

_log = logging.getLogger("eventwire.breaker")

TRANSIENT: tuple[type[Exception], ...] = (
    ConnectionError,
    TimeoutError,
    socket.gaierror,
    Unreachable,
    PublishUnknown,
    InboxUnavailable,
)
"""What says that something which handlers need cannot be reached: no fault of the event."""


class Breaker:
    """One for each worker. For one event loop.

    `troubled` is false as long as nothing failed lately: then nobody needs to call it. `transient` are classes of
    exceptions.
    """

    def __init__(self, policy: BreakerPolicy, transient: tuple[type[Exception], ...] = TRANSIENT) -> None:
        self._policy = policy
        self._transient = transient
        self._failures = 0
        self._keys: set[object] = set()
        self._openings = 0
        self._until = 0.0
        self._probing: Context | None = None
        self._changed = asyncio.Event()
        self.troubled = False
        self.why: str | None = None
        """What keeps it open; None while it is closed."""
        self.since: float | None = None
        """When it opened, in seconds of the monotonic clock."""

    def is_transient(self, error: Exception) -> bool:
        """Whether the error says that something is out of reach: a publish that was not sent among them.

        Of a group (a handler's `TaskGroup`) all must say so.
        """
        if isinstance(error, self._transient) or type(error) is PublishFailed:
            return True
        if not isinstance(error, ExceptionGroup):
            return False
        return all(map(self.is_transient, cast("ExceptionGroup[Exception]", error).exceptions))

    async def admit(self, context: Context) -> None:
        """Return when an attempt may begin: at once while closed; while open, one at a time after each wait."""
        while self.why is not None:
            left = self._until - time.monotonic()
            if self._probing is None and left <= 0:
                self._probing = context
                return
            await context.wait(self._change(left if self._probing is None else None))

    def failed(self, context: Context, error: Exception, *, transient: bool) -> None:
        """Note a failed attempt; may open."""
        self.troubled = True
        if self.why is not None:
            self._failed_again(context, error)
            return
        self._failures += 1
        if len(self._keys) < self._policy.keys:
            self._keys.add(context.key or context.id)
        many = self._failures >= self._policy.failures and len(self._keys) >= self._policy.keys
        if transient or many:
            self._open(f"{type(error).__name__}: {str(error)[:200]}")

    def succeeded(self) -> None:
        """Note a success: closes."""
        if self.why is not None:
            _log.warning("handling goes on after %.1f s", time.monotonic() - (self.since or 0.0))
        self._failures = self._openings = 0
        self._keys.clear()
        self.troubled = False
        self.why = self.since = None
        self._let_look()

    def ended(self, context: Context) -> None:
        """Note that a delivery ends without a verdict (cancelled, rejected): another may make the attempt."""
        if self._probing is context:
            self._let_look()

    def _failed_again(self, context: Context, error: Exception) -> None:
        if self._probing is context:
            self._open(f"{type(error).__name__}: {str(error)[:200]}")

    def _open(self, why: str) -> None:
        self._openings += 1
        policy = self._policy
        wait = grown(policy.initial_backoff, policy.backoff_multiplier, policy.max_backoff, self._openings)
        wait *= 1 - 0.2 * random.random()  # noqa: S311  spreads workers, no secret
        if self.why is None:
            self.since = time.monotonic()
            _log.warning("handling pauses, since what it needs seems to be down: %s", why)
        self.why = why
        self._until = time.monotonic() + wait
        self._let_look()

    def _let_look(self) -> None:
        self._probing = None
        self._changed.set()
        self._changed = asyncio.Event()

    async def _change(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return
