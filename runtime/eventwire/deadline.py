"""Many equal timeouts on one timer: `asyncio.timeout` makes a timer each, which costs more than a publish."""

from __future__ import annotations

import asyncio
from types import TracebackType

from eventwire.errors import ConfigurationError


class Deadlines:
    """Timeouts of one length, in seconds, for the tasks of one event loop."""

    __slots__ = ("_loop", "_open", "_timer", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._open: dict[Guard, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def guard(self) -> Guard:
        """A `with` block that raises TimeoutError when it takes longer; it cancels what is awaited inside."""
        return Guard(self)

    def enter(self, guard: Guard, loop: asyncio.AbstractEventLoop) -> None:
        """Start the clock of a guard. Raises ConfigurationError in another event loop than before."""
        if loop is not self._loop:
            if self._loop is not None:  # its timer would never fire here
                raise ConfigurationError(
                    "a bus or worker that is used in one event loop is used in another: make one for each, and for "
                    "synchronous code use `Bus.blocking()`"
                )
            self._loop = loop
        self._open[guard] = None
        if self._timer is None:
            self._timer = loop.call_at(guard.when, self._sweep)

    def leave(self, guard: Guard) -> None:
        """Stop the clock of a guard."""
        self._open.pop(guard, None)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = None
        while self._open:
            guard = next(iter(self._open))
            if guard.when > now:
                self._timer = loop.call_at(guard.when, self._sweep)
                return
            del self._open[guard]
            guard.expire()


class Guard:
    """One timeout, of the task that entered it. See `Deadlines.guard`."""

    __slots__ = ("_cancelling", "_deadlines", "_task", "expired", "when")

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self.expired = False
        self.when = 0.0

    def expire(self) -> None:
        """Cancel the task; leaving the block turns that into TimeoutError."""
        self.expired = True
        self._task.cancel()

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline needs a task")
        self._task = task
        self._cancelling = task.cancelling()
        loop = asyncio.get_running_loop()
        self.when = loop.time() + self._deadlines.seconds
        self._deadlines.enter(self, loop)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.leave(self)
        if self.expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
