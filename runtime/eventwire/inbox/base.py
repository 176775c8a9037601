"""What a worker needs of an inbox."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol, TypeAlias

from eventwire.handler import AnyHandler
from eventwire.inbox.key import InboxKey

if TYPE_CHECKING:
    from eventwire.context import Context

Handle: TypeAlias = "Callable[[], Awaitable[None]]"
"""One attempt of the handler. Raises what the handler raises."""


class Inbox(Protocol):
    """Knows which events a group has handled. One instance may serve several workers of one event loop."""

    def check(self, handlers: Sequence[type[AnyHandler]]) -> None:
        """Raise ConfigurationError for handlers that it cannot serve. Called when a worker is made; does no I/O."""
        ...

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Around a worker's life: connections, clean-up.

        Entering it raises ConfigurationError for what a person must mend, and InboxUnavailable.
        """
        ...

    async def once(self, key: InboxKey, context: Context, handle: Handle) -> bool:
        """Call `handle` unless the event was handled; False when it was. Called again for each attempt.

        When it returns, the event is known to be handled, also after a crash. When `handle` raises or is cancelled, it
        is not, and the error is passed on. What is provided to `context` is for this attempt alone. Raises
        InboxUnavailable when it cannot tell; it never calls `handle` then.
        """
        ...
