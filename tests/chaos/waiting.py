"""Waiting for conditions, with a deadline that says what did not come true."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_LOOK = 0.02


async def until(true: Callable[[], bool], within: float, what: Callable[[], str] | str) -> None:
    """Return when it is true. Raises TimeoutError, telling `what` was waited for, after `within` seconds."""
    try:
        async with asyncio.timeout(within):
            while not true():  # noqa: ASYNC110 - other processes make it true
                await asyncio.sleep(_LOOK)
    except TimeoutError:
        raise TimeoutError(f"not within {within:g} s: {what if isinstance(what, str) else what()}") from None
