"""The life of something that runs until it is told to stop: signals, background, grace."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from eventwire.errors import Closed
from eventwire.signals import on_stop_signals


class Life:
    """One run of `work`. `grace`: seconds that it has to end by itself after it was told to stop."""

    def __init__(self, what: str, work: Callable[[], Coroutine[Any, Any, None]], grace: float) -> None:
        self._what = what
        self._work = work
        self._grace = grace
        self._ran = False
        self._now = asyncio.Event()
        self._background: asyncio.Task[None] | None = None
        self._host: asyncio.Task[Any] | None = None
        self._interrupted = False
        self.stop = asyncio.Event()
        self.ready = asyncio.Event()
        """To be set by the work when it has begun."""

    async def run(self) -> None:
        """Work until told to stop, by `stop` or a signal. Raises Closed when it ran before."""
        self._once()
        with on_stop_signals(self._signalled):
            await self._until_stopped()

    async def enter(self) -> None:
        """Work in the background; return when it has begun. When it fails, the calling task is cancelled."""
        self._once()
        background = asyncio.create_task(self._until_stopped(), name=f"eventwire {self._what}")
        try:
            await _first(background, self.ready.wait())
        except asyncio.CancelledError:
            await _end(background)
            raise
        if background.done():
            await background
        self._background, self._host = background, asyncio.current_task()
        background.add_done_callback(self._failed)

    async def leave(self) -> None:
        """Tell it to stop, and wait for its end. Raises what it raised."""
        host, self._host = self._host, None
        if host is not None and self._interrupted:
            host.uncancel()
        self.stop.set()
        if self._background is not None:
            await self._background

    def _once(self) -> None:
        if self._ran:
            raise Closed(f"a {self._what} runs once: make a new one")
        self._ran = True

    def _failed(self, background: asyncio.Task[None]) -> None:
        if self._host is not None and not background.cancelled() and background.exception() is not None:
            self._interrupted = self._host.cancel()

    async def _until_stopped(self) -> None:
        work = asyncio.create_task(self._work())
        try:
            await _first(work, self.stop.wait())
            if not work.done():
                await _first(work, self._now.wait(), within=self._grace)
        finally:
            await _end(work)
        if not work.cancelled():
            work.result()

    def _signalled(self) -> None:
        if self.stop.is_set():
            self._now.set()
        self.stop.set()


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """Run all until one ends, then end the others. Raises what that one, or the first of several, raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            await _end(task)
    for task in tasks:
        if task in done:
            task.result()


async def _first(work: asyncio.Task[None], other: Awaitable[Any], within: float | None = None) -> None:
    """Return when one of the two is done, or after so many seconds."""
    waiting = asyncio.ensure_future(other)
    try:
        await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=within)
    finally:
        waiting.cancel()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
