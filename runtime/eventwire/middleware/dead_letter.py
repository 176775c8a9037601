"""Dead letter: an event that no attempt could handle is set aside, whole, so that the next can be handled.

The dead letter has the original body, key, content type and headers, and headers of its own that tell why.
"""

from __future__ import annotations

import logging
import time
from itertools import count
from typing import Protocol

from eventwire.context import Context
from eventwire.counts import Counts
from eventwire.errors import PublishError, ReadError, Reject, TooLarge, WorkerStopped
from eventwire.message import Headers, Message
from eventwire.middleware.base import HandleNext, Middleware
from eventwire.middleware.retry import backoff
from eventwire.policy import OnExhausted, RetryPolicy
from eventwire.wire.attributes import rfc3339

_log = logging.getLogger("eventwire.dead_letter")
_AGAIN = RetryPolicy(initial_backoff=0.5, max_backoff=30.0)
_SHOWN = 1000
"""Characters of an error's text that are kept."""
POINTER = "application/vnd.eventwire.pointer"
"""Content type of a dead letter whose body was too large: the origin headers say where the event is."""


class Park(Protocol):
    """Publishes to the group's dead letter topic. Raises PublishError."""

    async def __call__(self, message: Message) -> None:
        """Publish."""
        ...


class DeadLetter(Middleware):
    """Catches what could not be handled. Raises WorkerStopped where policy allows nothing else.

    Publishing the dead letter is tried again for ever, with backoff: the event is not acknowledged before it is safe.
    """

    def __init__(self, name: str | None, park: Park, on_exhausted: OnExhausted, counts: Counts) -> None:
        self._name = name
        self._park = park
        self._on_exhausted = on_exhausted
        self._counts = counts

    async def on_handle(self, context: Context, call_next: HandleNext) -> None:
        """Handle, or set aside."""
        try:
            await call_next(context)
        except WorkerStopped:
            raise
        except Exception as error:  # noqa: BLE001  whatever a handler raises, its event must not be lost
            await self.set_aside(context, error)

    async def set_aside(self, context: Context, error: Exception) -> None:
        """Dead-letter a delivery, or stop or drop where there is no dead letter."""
        if self._name is None:
            self._without(context, error)
            self._counts.dropped += 1
        else:
            await self._publish(context, dead_letter(context, error, self._name))
            self._counts.dead_lettered += 1
            _log.warning(
                "dead letter %s: event %s of %s, group %s, after %d attempts: %s: %.200s",
                self._name, context.id, context.topic.name, context.group, context.attempt, type(error).__name__, error,
                exc_info=_traceback_of(error),
            )  # fmt: skip
        context.failure = error

    def _without(self, context: Context, error: Exception) -> None:
        text = (
            f"event {context.id} of {context.topic.name} could not be handled by group {context.group} in "
            f"{context.attempt} attempts, and its dead letter is disabled: {type(error).__name__}: {str(error)[:200]}"
        )
        if self._on_exhausted is OnExhausted.STOP:
            raise WorkerStopped(text) from error
        _log.error("dropped: %s", text, exc_info=_traceback_of(error))

    async def _publish(self, context: Context, message: Message) -> None:
        whole = message
        for attempt in count(1):
            try:
                await self._park(message)
            except PublishError as error:
                if isinstance(error, TooLarge) and message is whole:
                    message = pointer(whole)
                    continue
                _log.error(
                    "dead letter %s: attempt %d to publish failed, trying again: %s",
                    self._name,
                    attempt,
                    error,
                )
                await context.sleep(backoff(_AGAIN, attempt, 0.5))
            else:
                return


def _traceback_of(error: Exception) -> Exception | None:
    """What is worth a traceback: faults of the handler, not of the message and not asked for."""
    return None if isinstance(error, ReadError | Reject) else error


def dead_letter(context: Context, error: Exception, topic: str) -> Message:
    """The dead letter of a delivery: the original, and why."""
    message = context.message
    return Message(
        topic,
        message.body,
        message.key,
        (*_without_ours(message.headers), *_reasons(context, error)),
        message.content_type,
        message.id or context.id,
    )


def pointer(message: Message) -> Message:
    """A dead letter without its body, for a broker that refuses its size; the origin headers tell where it is."""
    ours = tuple(header for header in message.headers if header[0].startswith("eventwire_dead_"))
    size = (("eventwire_dead_body_size", b"%d" % len(message.body or b"")),)
    return Message(message.topic, b"{}", message.key, ours + size, POINTER, message.id)


def _without_ours(headers: Headers) -> Headers:
    """Headers of an earlier dead letter, or forged ones, must not be taken for this one's."""
    return tuple(header for header in headers if not header[0].startswith("eventwire_dead_"))


def _reasons(context: Context, error: Exception) -> Headers:
    reasons = {
        "topic": context.topic.name,
        "group": context.group,
        "partition": str(context.partition),
        "offset": "" if context.offset is None else str(context.offset),
        "attempts": str(context.attempt),
        "error": type(error).__name__,
        "reason": str(error)[:_SHOWN],
        "time": rfc3339(time.time()).decode(),
    }
    return tuple(
        (f"eventwire_dead_{name}", value.encode(errors="replace")) for name, value in reasons.items() if value
    )
