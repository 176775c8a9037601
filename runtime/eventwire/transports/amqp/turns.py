"""Who may be handled beside others, and who only alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class Turns:
    """Any number at once, or one alone; who waits to be alone goes before those who come after it."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._together = 0
        self._alone = 0

    @asynccontextmanager
    async def together(self) -> AsyncGenerator[None, None]:
        """Wait until nobody is alone or waits for it."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._alone)
            self._together += 1
        try:
            yield
        finally:
            self._together -= 1
            await self._tell()

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None, None]:
        """Wait until nobody else has a turn."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._alone)
            self._alone = 1
            try:
                await self._changed.wait_for(lambda: not self._together)
            except BaseException:
                self._alone = 0
                self._changed.notify_all()
                raise
        try:
            yield
        finally:
            self._alone = 0
            await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()
