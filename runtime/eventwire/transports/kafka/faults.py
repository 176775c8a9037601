"""aiokafka's errors as Eventwire's: the one table."""

from __future__ import annotations

from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    InvalidSessionTimeoutError,
    InvalidTimestampError,
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnknownTopicOrPartitionError,
    UnsupportedCodecError,
    UnsupportedForMessageFormatError,
)

from eventwire.errors import PublishError, PublishFailed, PublishUnknown, TooLarge
from eventwire.message import Message

REFUSED = (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    InvalidSessionTimeoutError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
"""What no other try mends: a person has to. Everything else that ends a consumer's client has it made anew."""

_Row = tuple[type[PublishError], str]

_ROWS: dict[type[KafkaError], _Row] = {
    MessageSizeTooLargeError: (
        TooLarge,
        "above `max_request_size` here, or its batch above the broker's limit (`message.max.bytes`, `max_batch_size`)",
    ),
    RecordListTooLargeError: (TooLarge, "its batch is above the topic's `segment.bytes`"),
    TopicAuthorizationFailedError: (
        PublishFailed,
        "this user may not write the topic: it needs the WRITE ACL",
    ),
    ClusterAuthorizationFailedError: (
        PublishFailed,
        "this user may not write idempotently: IDEMPOTENT_WRITE ACL",
    ),
    UnknownTopicOrPartitionError: (PublishFailed, "the topic is gone"),
    InvalidTopicError: (PublishFailed, "the broker does not take the topic's name"),
    InvalidTimestampError: (PublishFailed, "the broker does not take the timestamp: compare the clocks"),
    PolicyViolationError: (PublishFailed, "a policy of the broker refuses it"),
    UnsupportedForMessageFormatError: (PublishFailed, "the topic's message format is too old for headers"),
    UnsupportedCodecError: (PublishFailed, "the broker does not know the compression"),
}
_OTHER: _Row = (PublishUnknown, "written or not, nobody can say; publish again with the same id")


def publish_error(error: KafkaError, message: Message) -> PublishError:
    """What a failed send or batch means for `message`: TooLarge and PublishFailed are known not to be written."""
    kind, meaning = _ROWS.get(type(error), _OTHER)
    return kind(f"{message.topic}: {describe(error)}: {meaning}", message)


def describe(error: BaseException) -> str:
    """The error in one line, also where aiokafka gives it no text."""
    return str(error) or type(error).__name__
