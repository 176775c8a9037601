"""How a scenario says that a promise was broken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager


class Broken(AssertionError):
    """A transport did what its contract or its `Features` exclude; the text says what."""


class Missing(Broken):
    """Something did not happen within its deadline; the text names what was missing."""


def expect(condition: bool, text: str) -> None:
    """Raise Broken with `text` unless `condition` holds."""
    if not condition:
        raise Broken(text)


def equal(got: object, wanted: object, what: str) -> None:
    """Raise Broken, showing both sides, unless they are equal."""
    if got != wanted:
        raise Broken(f"{what}: got {got!r}, wanted {wanted!r}")


@asynccontextmanager
async def within(seconds: float, what: Callable[[], str]) -> AsyncGenerator[None]:
    """Give the block so many seconds, then raise Missing with what `what()` says is missing by then."""
    deadline = asyncio.timeout(seconds)
    try:
        async with deadline:
            yield
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise Missing(f"not within {seconds:g} s: {what()}") from error
