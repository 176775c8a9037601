"""Every error Eventwire raises.

EventwireError
├── ConfigurationError        found before anything is sent or handled
│   ├── UrlError              a broker URL that cannot be read, or an option nobody knows
│   ├── MissingDriver         the URL's transport needs an extra that is not installed
│   ├── HandlerError          a handler class or a set of handlers that cannot work
│   └── CapabilityError       a topic asks for what its transport cannot give
├── BrokerError
│   ├── Unreachable           no connection within the connect timeout
│   ├── TopicMissing          a topic, exchange, queue or group was not declared
│   ├── TopicMismatch         it was declared otherwise than its .proto says
│   └── OffsetOutOfRange      the group's next offset is gone from the log
├── PublishError              carries `.message`, whose id a second publish can keep
│   ├── PublishFailed         known not to be written
│   │   ├── InvalidEvent      no key, a refused value, a failed validation
│   │   ├── TooLarge          body or headers above the broker's limit
│   │   └── Unroutable        no consumer group would receive it
│   └── PublishUnknown        written or not: deadline passed or connection lost
├── ReadError                 a message that cannot be an event here; never retried
│   ├── Undecodable
│   ├── UnknownEvent
│   └── ValidationFailed
├── HandlerTimeout            an attempt took longer than the worker's timeout
├── HandlerDied               processes ended while they handled the event, as often as it may be tried
├── HandlerCancelled          an attempt ended as cancelled, though nobody cancelled it
├── InboxUnavailable          whether the event was handled cannot be told now: no attempt, asked again
│   └── InboxBusy             another delivery is in the way
├── WorkerStopped             an event could not be handled and nothing else is allowed
├── Closed                    used after close()
└── Signal                    raised by handlers to steer
    ├── Retry                 try again, after so many seconds
    └── Reject                do not try again: dead letter
"""

from __future__ import annotations

from typing import Self

from eventwire.message import Message


class EventwireError(Exception):
    """Root of every error of this package."""


class ConfigurationError(EventwireError):
    """Something is declared or configured wrongly; nothing was sent or handled yet."""


class UrlError(ConfigurationError):
    """A broker URL that cannot be read. Its text never contains the URL's password."""


class MissingDriver(ConfigurationError):
    """The transport's client library is not installed; the text names the extra that brings it."""


class HandlerError(ConfigurationError):
    """A handler class, or the handlers of one worker, cannot work as written."""


class CapabilityError(ConfigurationError):
    """A topic asks for something its transport cannot give; the text names transports that can."""


class BrokerError(EventwireError):
    """The broker, or the way to it."""


class Unreachable(BrokerError):
    """No connection within the connect timeout. The address in the text carries no password."""


class TopicMissing(BrokerError):
    """A topic, exchange, queue or group that was never declared."""


class TopicMismatch(BrokerError):
    """A topic that exists, but not as its declaration says."""


class OffsetOutOfRange(BrokerError):
    """The group's next offset is no longer in the log: events were lost to retention."""


class PublishError(EventwireError):
    """A publish that was not confirmed. `message` is what was to be written, if it got that far."""

    def __init__(self, text: str, message: Message | None = None) -> None:
        super().__init__(text)
        self.message = message
        self.index: int | None = None
        """Its place in the batch, from 0; None outside `publish_many`."""

    def at(self, index: int) -> Self:
        """The error itself, with its place in the batch."""
        self.index = index
        return self

    @property
    def id(self) -> str | None:
        """The event's id: publish again with `id=` this, and readers can tell the two are one."""
        return self.message.id if self.message else None


class PublishFailed(PublishError):
    """The event is known not to be written."""


class InvalidEvent(PublishFailed):
    """The event itself cannot be published: no key, a refused header, a failed validation."""


class TooLarge(PublishFailed):
    """Body or headers exceed what the broker takes."""


class Unroutable(PublishFailed):
    """The broker took the message and had no queue for it: no consumer group is bound to the topic."""


class PublishUnknown(PublishError):
    """Nobody can say whether the event was written: the deadline passed or the connection broke."""


class ReadError(EventwireError):
    """A message that cannot be read as an event of its topic. Reading it again gives the same: never retried."""


class Undecodable(ReadError):
    """The bytes are not what the message says they are."""


class UnknownEvent(ReadError):
    """The event's type is not one of the topic's, as far as this reader knows them."""


class ValidationFailed(ReadError):
    """The event was read and the validator refuses it."""


class HandlerTimeout(EventwireError):
    """An attempt took longer than the worker's `timeout`; it was cancelled."""


class HandlerDied(EventwireError):
    """The process ended while it handled the event, again and again: killed, out of memory, or a fault in C code."""


class HandlerCancelled(EventwireError):
    """An attempt let the cancellation of something that it awaited through, as if the worker had cancelled it."""


class InboxUnavailable(EventwireError):
    """The inbox cannot tell now whether the event was handled. The event stays as it is, and no attempt is used up."""


class InboxBusy(InboxUnavailable):
    """Another delivery is in the way: the same event is being handled, or one that changes the same rows.

    Nothing is out of order: the event waits and is tried again, for as long as it takes.
    """


class WorkerStopped(EventwireError):
    """The worker stopped: an event could not be handled, and policy allows neither dead letter nor dropping it."""


class Closed(EventwireError):
    """A bus, publisher or consumer was used after it was closed."""


class Signal(EventwireError):
    """What a handler raises to steer its delivery."""


class Retry(Signal):
    """Raised by a handler: try this event again. `after` is in seconds; None leaves it to the retry policy."""

    def __init__(
        self, text: str = "the handler asked for another attempt", *, after: float | None = None
    ) -> None:
        super().__init__(text)
        self.after = after


class Reject(Signal):
    """Raised by a handler: no further attempt can help; the event goes to the dead letter."""
