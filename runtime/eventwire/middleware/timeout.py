"""Timeout: an attempt that takes too long is cancelled and counts as failed."""

from __future__ import annotations

from eventwire.context import Context
from eventwire.deadline import Deadlines
from eventwire.errors import HandlerTimeout
from eventwire.middleware.base import HandleNext, Middleware


class Timeout(Middleware):
    """Raises HandlerTimeout when an attempt takes longer than `seconds`.

    A TimeoutError of the handler's own is left as it is: only the guard's own clock speaks for the worker. A handler
    that swallows the cancellation has not finished either.
    """

    def __init__(self, seconds: float) -> None:
        self._deadlines = Deadlines(seconds)

    async def on_handle(self, context: Context, call_next: HandleNext) -> None:
        """One attempt."""
        guard = self._deadlines.guard()
        try:
            with guard:
                await call_next(context)
        except TimeoutError as error:
            if not guard.expired:
                raise
            raise self._overdue(context) from error
        if guard.expired:
            raise self._overdue(context)

    def _overdue(self, context: Context) -> HandlerTimeout:
        return HandlerTimeout(f"attempt {context.attempt} took longer than {self._deadlines.seconds:g} s")
