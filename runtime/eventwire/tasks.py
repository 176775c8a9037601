"""What a worker does with its tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from eventwire.errors import EventwireError


async def end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel them, and return when they have ended; their outcomes are looked at elsewhere."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def left_at(event: asyncio.Event) -> AsyncGenerator[None]:
    """Leave the block early, what it awaits cancelled, when the event is set."""
    scope = asyncio.timeout(None)

    async def watch() -> None:
        await event.wait()
        scope.reschedule(asyncio.get_running_loop().time())

    try:
        async with scope:
            watching = asyncio.create_task(watch())
            try:
                yield
            finally:
                watching.cancel()
    except TimeoutError:
        if not scope.expired():
            raise


def first(error: BaseException) -> BaseException:
    """The error that a task group wrapped; an error of ours before any other."""
    while isinstance(error, BaseExceptionGroup):
        inside: tuple[BaseException, ...] = cast("BaseExceptionGroup[BaseException]", error).exceptions
        error = next((each for each in inside if isinstance(each, EventwireError)), inside[0])
    return error
