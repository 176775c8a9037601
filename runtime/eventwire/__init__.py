"""Eventwire: events from .proto files, over the broker you have.

Generated modules and applications import from here; drivers are imported when a URL asks for them.
"""

from __future__ import annotations

from eventwire.batch import BatchReceipt
from eventwire.blocking import BlockingBus, BlockingPublisher
from eventwire.bus import Bus
from eventwire.context import Context
from eventwire.counts import Counts
from eventwire.errors import (
    BrokerError,
    CapabilityError,
    Closed,
    ConfigurationError,
    EventwireError,
    HandlerCancelled,
    HandlerDied,
    HandlerError,
    HandlerTimeout,
    InboxBusy,
    InboxUnavailable,
    InvalidEvent,
    MissingDriver,
    OffsetOutOfRange,
    PublishError,
    PublishFailed,
    PublishUnknown,
    ReadError,
    Reject,
    Retry,
    Signal,
    TooLarge,
    TopicMismatch,
    TopicMissing,
    Undecodable,
    UnknownEvent,
    Unreachable,
    Unroutable,
    UrlError,
    ValidationFailed,
    WorkerStopped,
)
from eventwire.handler import Handler, HandlerFactory, SyncHandler
from eventwire.health import BrokerHealth, WorkerHealth
from eventwire.message import Headers, Message, Receipt
from eventwire.middleware.base import HandleNext, Middleware, PublishNext
from eventwire.middleware.breaker import TRANSIENT
from eventwire.policy import (
    BreakerPolicy,
    DataFormat,
    DeadLetterPolicy,
    OnDead,
    OnExhausted,
    Ordering,
    RetryMode,
    RetryPolicy,
    Start,
    Unhandled,
    UnknownEvents,
    WireFormat,
)
from eventwire.pull import Pull, Pulled
from eventwire.sender import Publisher, Sender
from eventwire.topic import Codec, Event, FieldKind, FieldPath, HeaderField, Topic
from eventwire.transport import Consumer, ConsumerHealth, Delivery, Features, Transport
from eventwire.worker import Worker

__all__ = [
    "TRANSIENT",
    "BatchReceipt",
    "BlockingBus",
    "BlockingPublisher",
    "BreakerPolicy",
    "BrokerError",
    "BrokerHealth",
    "Bus",
    "CapabilityError",
    "Closed",
    "Codec",
    "ConfigurationError",
    "Consumer",
    "ConsumerHealth",
    "Context",
    "Counts",
    "DataFormat",
    "DeadLetterPolicy",
    "Delivery",
    "Event",
    "EventwireError",
    "Features",
    "FieldKind",
    "FieldPath",
    "HandleNext",
    "Handler",
    "HandlerCancelled",
    "HandlerDied",
    "HandlerError",
    "HandlerFactory",
    "HandlerTimeout",
    "HeaderField",
    "Headers",
    "InboxBusy",
    "InboxUnavailable",
    "InvalidEvent",
    "Message",
    "Middleware",
    "MissingDriver",
    "OffsetOutOfRange",
    "OnDead",
    "OnExhausted",
    "Ordering",
    "PublishError",
    "PublishFailed",
    "PublishNext",
    "PublishUnknown",
    "Publisher",
    "Pull",
    "Pulled",
    "ReadError",
    "Receipt",
    "Reject",
    "Retry",
    "RetryMode",
    "RetryPolicy",
    "Sender",
    "Signal",
    "Start",
    "SyncHandler",
    "TooLarge",
    "Topic",
    "TopicMismatch",
    "TopicMissing",
    "Transport",
    "Undecodable",
    "Unhandled",
    "UnknownEvent",
    "UnknownEvents",
    "Unreachable",
    "Unroutable",
    "UrlError",
    "ValidationFailed",
    "WireFormat",
    "Worker",
    "WorkerHealth",
    "WorkerStopped",
]
