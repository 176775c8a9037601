"""Writing: from an event object to the broker's message, in the topic's wire format."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from re import compile as regex
from typing import Any

from eventwire.errors import CapabilityError, InvalidEvent, PublishError, TooLarge
from eventwire.ids import uuid7
from eventwire.keys import encode_key, key_bytes, topic_key
from eventwire.message import Headers, Message
from eventwire.policy import WireFormat
from eventwire.topic import Event, FieldKind, Topic
from eventwire.transport import Features
from eventwire.wire import content, structured
from eventwire.wire.attributes import SPECVERSION, TYPE_URL, rfc3339, source_of
from eventwire.wire.envelope import wrap

RESERVED = "eventwire_"
_NAME = regex(r"[!-~]{1,255}")
_KEYS: dict[FieldKind, type] = {FieldKind.STRING: str, FieldKind.BYTES: bytes}  # the other kinds are int

Attributes = Sequence[tuple[str, bytes]]


class Writer:
    """Lays out the events of one topic for one transport; made once per topic. Raises CapabilityError."""

    def __init__(self, topic: Topic[Any], name: str, features: Features, service: str | None) -> None:
        if topic.wire_format is WireFormat.CONFLUENT:
            raise CapabilityError(
                f"topic {topic.name}: wire format CONFLUENT needs a schema registry, and none is configured"
            )
        if topic.wire_format is WireFormat.CLOUDEVENTS and not features.headers:
            raise CapabilityError(
                f"topic {topic.name}: {features.transport} carries no headers, so CLOUDEVENTS cannot be written: "
                "use CLOUDEVENTS_STRUCTURED or PLAIN"
            )
        self._topic = topic
        self._name = name
        self._features = features
        self._prefix = features.attribute_prefix
        self._source = source_of(topic.package, service).encode()
        self._form = topic.data_format
        self._content_type = content.DATA[topic.data_format]
        self._lay_out = {
            WireFormat.CLOUDEVENTS: self._binary,
            WireFormat.CLOUDEVENTS_STRUCTURED: self._structured,
            WireFormat.PLAIN: self._plain,
        }[topic.wire_format]
        self._id, self._time = self._prefix + "id", self._prefix + "time"
        self._static = {event: self._static_headers(event) for event in topic.events}

    def _static_headers(self, event: Event[Any]) -> Headers:
        prefix = self._prefix
        return (
            (prefix + "specversion", SPECVERSION),
            (prefix + "type", event.type.encode()),
            (prefix + "source", self._source),
            (prefix + "dataschema", (TYPE_URL + event.full_name).encode()),
        )

    def write(
        self,
        message: object,
        id: str | None = None,
        headers: Mapping[str, str] | None = None,
        inherited: Attributes = (),
        inherited_headers: Headers = (),
    ) -> Message:
        """The event as a message. Raises InvalidEvent and TooLarge; nothing of `message` is changed."""
        event = self._topic.by_message.get(type(message))
        if event is None:
            names = ", ".join(known.message.__name__ for known in self._topic.events)
            raise InvalidEvent(
                f"topic {self._topic.name} publishes {names}; this is a {type(message).__qualname__}"
            )
        try:
            data = event.codec.encode(message)
            attributes = (*inherited, *_attributes_of(event, message)) if inherited or _has_own(event) else ()
            written = self._lay_out(
                event, data, id or _id_of(event, message), _time_of(event, message), attributes
            )
            written.key = key_bytes(event, message)
            if headers or inherited_headers:
                written.headers += inherited_headers + self._user_headers(headers or {})
        except PublishError:
            raise
        except Exception as error:  # noqa: BLE001  whatever a message backend raises, the event is what is wrong
            raise InvalidEvent(
                f"{event.full_name} cannot be encoded: {event.explain(error)}"
            ) from event.cause(error)
        self._fits(written)
        return written

    def tombstone(self, key: str | bytes | int, inherited: Attributes = ()) -> Message:
        """A message with the key and no body. Raises InvalidEvent for an empty key or another type, and TooLarge."""
        kind = topic_key(self._topic).kind
        if key in ("", b"") or type(key) is not _KEYS.get(kind, int):
            raise InvalidEvent(
                f"topic {self._topic.name}: a tombstone needs a key that is not empty, of type {kind.value}"
            )
        written = self._binary(self._topic.events[0], b"", uuid7(), rfc3339(time.time()), inherited)
        written.key, written.body = encode_key(key, kind), None
        if not self._features.headers:
            written.headers = ()
        self._fits(written)
        return written

    def _binary(
        self, event: Event[Any], data: bytes, id: str, moment: bytes, attributes: Attributes
    ) -> Message:
        headers = (
            *self._static[event],
            (self._id, id.encode()),
            (self._time, moment),
            *self._prefixed(attributes),
        )
        return Message(self._name, data, None, headers, self._content_type, id)

    def _plain(self, event: Event[Any], data: bytes, id: str, _: bytes, attributes: Attributes) -> Message:
        headers = self._prefixed(attributes) if self._features.headers else ()
        return Message(self._name, wrap(event, data, self._form), None, headers, self._content_type, id)

    def _prefixed(self, attributes: Attributes) -> Headers:
        if not attributes:
            return ()
        return tuple([(self._prefix + name, value) for name, value in attributes])

    def _structured(
        self, event: Event[Any], data: bytes, id: str, moment: bytes, attributes: Attributes
    ) -> Message:
        every = {
            "id": id,
            "source": self._source.decode(),
            "specversion": SPECVERSION.decode(),
            "type": event.type,
            "time": moment.decode(),
            "dataschema": TYPE_URL + event.full_name,
            **{name: value.decode() for name, value in attributes},
        }
        body = structured.write(every, data, self._form, event.full_name)
        return Message(self._name, body, None, (), content.STRUCTURED[self._form], id)

    def _user_headers(self, headers: Mapping[str, str]) -> Headers:
        if headers and not self._features.headers:
            raise InvalidEvent(
                f"{self._features.transport} carries no headers: publish without {', '.join(headers)}"
            )
        return tuple((_checked(name, self._prefix), value.encode()) for name, value in headers.items())

    def _fits(self, message: Message) -> None:
        facts = self._features
        if facts.max_body is not None and message.body is not None and len(message.body) > facts.max_body:
            raise TooLarge(
                f"the body has {len(message.body)} bytes, {facts.transport} takes {facts.max_body}", message
            )
        if facts.max_key is not None and message.key is not None and len(message.key) > facts.max_key:
            raise TooLarge(
                f"the key has {len(message.key)} bytes, {facts.transport} takes {facts.max_key}", message
            )
        if facts.max_headers is not None and len(message.headers) > facts.max_headers:
            raise TooLarge(
                f"{len(message.headers)} headers, {facts.transport} takes {facts.max_headers}", message
            )
        if facts.max_header_bytes is not None:
            size = sum(len(name) + len(value) for name, value in message.headers)
            if size > facts.max_header_bytes:
                raise TooLarge(
                    f"the headers have {size} bytes, {facts.transport} takes {facts.max_header_bytes}",
                    message,
                )


def _has_own(event: Event[Any]) -> bool:
    return event.subject is not None or bool(event.headers)


def _attributes_of(event: Event[Any], message: object) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    if event.subject is not None and (subject := event.subject.read(message)):
        found.append(("subject", str(subject).encode()))
    texts = [(field.name, field.read(message)) for field in event.headers]
    found += [(name, text.encode()) for name, text in texts if text is not None]
    return found


def _id_of(event: Event[Any], message: object) -> str:
    if event.id is None:
        return uuid7()
    value = event.id.read(message)
    if value is None or value in ("", b""):
        raise InvalidEvent(
            f"{event.full_name}.{event.id.path} is the event's id and is empty: set it before publishing"
        )
    return str(value.hex() if event.id.kind is FieldKind.BYTES else value)


def _time_of(event: Event[Any], message: object) -> bytes:
    seconds = event.time(message) if event.time is not None else None
    return rfc3339(time.time() if seconds is None else seconds)


@lru_cache(maxsize=1024)
def _checked(name: str, prefix: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidEvent(
            f"header name {name[:40]!r} is not 1 to 255 printable ASCII characters without spaces"
        )
    if name.lower() == "content-type" or name.startswith((prefix, RESERVED)):
        raise InvalidEvent(f"header `{name}` is written by Eventwire: choose another name")
    return name
