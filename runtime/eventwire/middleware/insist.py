"""Publishing what must not be lost: again and again until it is confirmed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from itertools import count
from typing import Protocol

from eventwire.context import Context
from eventwire.errors import InvalidEvent, PublishError, TooLarge
from eventwire.message import Message
from eventwire.middleware.backoff import backoff
from eventwire.policy import RetryPolicy

_log = logging.getLogger("eventwire.insist")
_DAY = 86400.0
_AGAIN = RetryPolicy(initial_backoff=0.5, max_backoff=30.0)


class Park(Protocol):
    """Publishes to one of the group's own topics. Raises PublishError."""

    async def __call__(self, message: Message) -> None:
        """Publish."""
        ...


class Insist:
    """Publishes on behalf of deliveries, which are not acknowledged before. Tries for ever, with backoff.

    `stuck` tells, by topic, what keeps publishes from being confirmed just now; it may be shared.
    """

    def __init__(self, park: Park, stuck: dict[str, str]) -> None:
        self._park = park
        self._stuck = stuck
        self._waiting = 0

    async def block(self, context: Context, topic: str) -> None:
        """Keep the delivery, and so its key, until the worker stops or gives the partition up."""
        name = f"event {context.id} in {topic}"
        self._stuck[name] = (
            "its key waits until it is handled: mend what it needs and start the workers again"
        )
        try:
            while True:
                await context.sleep(_DAY)
        finally:
            self._stuck.pop(name, None)

    async def publish(
        self, message: Message, context: Context, smaller: Callable[[Message], Message]
    ) -> None:
        """Return when the broker has it.

        What the broker or its client can never take (too large, a null key) is replaced, once, by `smaller` of it; that
        may raise.
        """
        whole = message
        for attempt in count(1):
            try:
                await self._park(message)
            except PublishError as error:
                if isinstance(error, TooLarge | InvalidEvent) and message is whole:
                    message = smaller(whole)
                    continue
                _log.error(
                    "%s: attempt %d to publish failed, trying again: %s", message.topic, attempt, error
                )
                await self._wait(message.topic, error, context, attempt)
            else:
                self._stuck.pop(message.topic, None)
                return

    async def _wait(self, topic: str, error: PublishError, context: Context, attempt: int) -> None:
        self._stuck[topic] = str(error)
        self._waiting += 1
        try:
            await context.sleep(backoff(_AGAIN, attempt, 0.5))
        except asyncio.CancelledError:
            if self._waiting == 1:  # given back: nobody is left here whom it keeps
                self._stuck.pop(topic, None)
            raise
        finally:
            self._waiting -= 1
