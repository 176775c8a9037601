"""Dead letter: an event that no attempt could handle is set aside, whole, so that the next can be handled.

The dead letter has the original body, key, content type and headers, and headers of its own that tell why.
"""

from __future__ import annotations

import logging
import time

from eventwire.context import Context
from eventwire.counts import Counts
from eventwire.errors import HandlerDied, ReadError, Reject, WorkerStopped
from eventwire.message import Headers, Message
from eventwire.middleware.base import HandleNext, Middleware
from eventwire.middleware.delayed import origin_of
from eventwire.middleware.insist import Insist
from eventwire.policy import OnDead, OnExhausted
from eventwire.wire.attributes import rfc3339

_log = logging.getLogger("eventwire.dead_letter")
_OURS = ("eventwire_dead_", "eventwire_retry_")
_SHOWN = 1000
"""Characters of an error's text that are kept."""
POINTER = "application/vnd.eventwire.pointer"
"""Content type of a dead letter whose body was too large: the origin headers say where the event is."""


class DeadLetter(Middleware):
    """Catches what could not be handled. Raises WorkerStopped where policy allows nothing else.

    Publishing the dead letter is tried again for ever, with backoff: the event is not acknowledged before it is safe.
    An event that processes died of `max_attempts` times is set aside before anything of it is looked at.
    """

    def __init__(
        self,
        name: str | None,
        insist: Insist,
        on_exhausted: OnExhausted,
        counts: Counts,
        *,
        max_attempts: int,
        on_dead: OnDead = OnDead.CONTINUE,
    ) -> None:
        self._name = name
        self._insist = insist
        self._on_exhausted = on_exhausted
        self._counts = counts
        self._max_attempts = max_attempts
        self._on_dead = on_dead

    async def on_handle(self, context: Context, call_next: HandleNext) -> None:
        """Handle, or set aside."""
        try:
            if context.attempt > self._max_attempts:
                self._refuse_what_kills(context)
            await call_next(context)
        except WorkerStopped:
            raise
        except Exception as error:  # noqa: BLE001  whatever a handler raises, its event must not be lost
            await self.set_aside(context, error)

    def _refuse_what_kills(self, context: Context) -> None:
        """One that nobody died of waited elsewhere for an attempt when more were allowed: it gets that as its last."""
        context.attempt = self._max_attempts
        if not context.delivery.deaths:
            return
        raise HandlerDied(
            f"{context.delivery.deaths} processes ended while they handled this event and no other: killed, out of "
            "memory, or a crash"
        )

    async def set_aside(self, context: Context, error: Exception) -> None:
        """Dead-letter a delivery, or stop or drop where there is no dead letter."""
        if self._name is None:
            self._without(context, error)
            self._counts.dropped += 1
        else:
            await self._insist.publish(dead_letter(context, error, self._name), context, pointer)
            self._counts.dead_lettered += 1
            _log.warning(
                "dead letter %s: event %s of %s, partition %d offset %s, group %s, after %d attempts: %s: %.200s",
                self._name, context.id or "(not read)", context.topic.name, context.partition, context.offset,
                context.group, context.attempt, type(error).__name__, error,
                exc_info=_traceback_of(error),
            )  # fmt: skip
            if self._on_dead is OnDead.BLOCK_KEY and context.key is not None:
                await self._insist.block(context, self._name)
        context.failure = error

    def _without(self, context: Context, error: Exception) -> None:
        text = (
            f"event {context.id} of {context.topic.name} could not be handled by group {context.group} in "
            f"{context.attempt} attempts, and its dead letter is disabled: {type(error).__name__}: {str(error)[:200]}"
        )
        if self._on_exhausted is OnExhausted.STOP:
            raise WorkerStopped(text) from error
        _log.error("dropped: %s", text, exc_info=_traceback_of(error))


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
    """Headers of an earlier dead letter or retry, or forged ones, must not be taken for this one's."""
    return tuple(header for header in headers if not header[0].startswith(_OURS))


def _reasons(context: Context, error: Exception) -> Headers:
    partition, offset = origin_of(context)
    reasons = {
        "topic": context.topic.name,
        "group": context.group,
        "partition": partition,
        "offset": offset,
        "attempts": str(context.attempt),
        "error": type(error).__name__,
        "reason": str(error)[:_SHOWN],
        "time": rfc3339(time.time()).decode(),
    }
    return tuple(
        (f"eventwire_dead_{name}", value.encode(errors="replace")) for name, value in reasons.items() if value
    )
