"""Delayed retry: a failed event waits in a queue of its group, and the next is handled meanwhile.

What is published there is the original, body, key and headers, with headers of ours. They are trusted on the group's
own topics only: anybody may write them on the topic itself.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from eventwire.context import Context
from eventwire.errors import TooLarge
from eventwire.message import Message
from eventwire.middleware.insist import Insist
from eventwire.transport import TopicSpec

_OURS = "eventwire_retry_"
ATTEMPT = f"{_OURS}attempt"
"""The number of the attempt that the event waits for."""
DUE = f"{_OURS}due"
"""When that is to be, in seconds since the Unix epoch."""
ORIGIN = f"{_OURS}origin"
"""Partition and offset on the topic itself, with a colon in between."""


class Delayed:
    """Publishes an event to the level of its wait. Returns when the broker has it: then the delivery may be settled.

    `levels` are the group's, shortest first; a handler's own `Retry(after=...)` takes the next longer one.
    """

    def __init__(self, levels: Sequence[TopicSpec], insists: Sequence[Insist]) -> None:
        self._levels = tuple(zip(levels, insists, strict=True))

    async def __call__(self, context: Context, seconds: float) -> bool:
        """See Postpone: it waits elsewhere. Raises TooLarge when our headers make the message too large."""
        fitting = (each for each in self._levels if each[0].delay >= seconds)
        level, insist = next(fitting, self._levels[-1])
        await insist.publish(postponed(context, level), context, _refuse)
        context.postponed = True
        return False


def postponed(context: Context, level: TopicSpec) -> Message:
    """The message that waits for an event's next attempt."""
    message = context.message
    kept = tuple(header for header in message.headers if not header[0].startswith(_OURS))
    origin = ":".join(origin_of(context)).encode()
    ours = (
        (ATTEMPT, b"%d" % (context.attempt + 1)),
        (DUE, b"%.3f" % (time.time() + level.delay)),
        (ORIGIN, origin),
    )
    return Message(
        level.name, message.body, message.key, (*kept, *ours), message.content_type, message.id or context.id
    )


def attempt_of(message: Message) -> int:
    """The attempt that a message of a retry topic is for; 1 where it does not say so legibly (a replay)."""
    text = message.header(ATTEMPT) or b""
    return max(1, int(text)) if text.isdigit() and len(text) < 10 else 1  # noqa: PLR2004  ten digits are no count


def due_in(message: Message, delay: float) -> float:
    """Seconds until a message of a level is due: never more than its delay, however the clocks differ."""
    try:
        left = float(message.header(DUE) or b"") - time.time()
    except ValueError:
        return 0.0
    return min(max(left, 0.0), delay)


def origin_of(context: Context) -> tuple[str, str]:
    """Partition and offset of the event on its topic, as text; empty where they are not known."""
    message = context.message
    if message.topic == context.topic.name:
        return str(context.partition), "" if context.offset is None else str(context.offset)
    partition, _, offset = (message.header(ORIGIN) or b"").decode(errors="replace").partition(":")
    return partition, offset


def _refuse(message: Message) -> Message:
    raise TooLarge(
        f"{message.topic}: the event failed, and is too large to wait there for another attempt", message
    )
