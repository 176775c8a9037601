"""Reading: which event a message holds, told by what the message says of itself and never by trying to parse it.

Order of detection: a content type `application/cloudevents*` is structured; all required attributes as headers are
binary; a schema id header or a leading zero byte is a registry's framing; anything else is the topic's declared format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from eventwire.errors import CapabilityError, Undecodable, UnknownEvent
from eventwire.message import Message
from eventwire.policy import WireFormat
from eventwire.topic import Event, Topic
from eventwire.transport import Features
from eventwire.wire import structured
from eventwire.wire.attributes import TYPE_URL, require_version
from eventwire.wire.content import DATA, STRUCTURED, is_data, media_type
from eventwire.wire.envelope import unwrap

_TYPE_URL = TYPE_URL.encode()


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused before it is parsed. Sizes in bytes.

    `header_bytes` counts names and values of all headers, of a repeated name the last.
    """

    body: int = 64 * 1024 * 1024
    headers: int = 512
    header_bytes: int = 256 * 1024


class _Names:
    """The headers that hold the attributes which are looked at, for one prefix."""

    __slots__ = ("id", "prefix", "schema", "source", "specversion", "type")

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.specversion = prefix + "specversion"
        self.type = prefix + "type"
        self.id = prefix + "id"
        self.source = prefix + "source"
        self.schema = prefix + "dataschema"


@dataclass(slots=True)
class Incoming:
    """A message that was told apart and not yet parsed. `data` is None for a tombstone."""

    event: Event[Any]
    data: bytes | None = field(repr=False)
    values: Mapping[str, bytes] = field(repr=False)
    """Where the attributes are, their names prefixed."""
    prefix: str = ""

    def attribute(self, name: str) -> bytes | None:
        """A CloudEvents attribute without its prefix, or None."""
        return self.values.get(self.prefix + name)

    def decode(self) -> Any:
        """Parse the event. Raises Undecodable."""
        try:
            return self.event.codec.decode(self.data or b"")
        except Exception as error:  # noqa: BLE001  whatever a message backend raises, the bytes are what is wrong
            raise Undecodable(
                f"the data is no {self.event.full_name}: {self.event.explain(error)}"
            ) from self.event.cause(error)


class Reader:
    """Reads the messages of one topic; made once per topic. Raises CapabilityError."""

    def __init__(self, topic: Topic[Any], features: Features, limits: Limits = Limits()) -> None:
        if WireFormat.CONFLUENT in topic.accept:
            raise CapabilityError(
                f"topic {topic.name} accepts CONFLUENT, which needs a schema registry, and none is configured"
            )
        self._topic = topic
        self._names = tuple(map(_Names, features.attribute_prefixes))
        self._limits = limits
        self._plain = WireFormat.PLAIN in (topic.wire_format, *topic.accept)
        self._usual = DATA[topic.data_format]
        self._events = {event.type.encode(): event for event in topic.events}
        self._schemas = {event: (TYPE_URL + event.full_name).encode() for event in topic.events}

    def read(self, message: Message) -> Incoming:
        """Tell the event apart. Raises Undecodable and UnknownEvent."""
        headers = dict(message.headers)
        self._within_limits(message, headers)
        names = self._names_in(headers)
        body, content_type = message.body, message.content_type
        if body is None:
            return self._tombstone(headers, names)
        media = "" if content_type == self._usual else media_type(content_type)
        if media.startswith("application/cloudevents"):
            return self._structured(media, body)
        type_name = headers.get(names.type)
        if not (
            type_name and headers.get(names.id) and headers.get(names.source) and names.specversion in headers
        ):
            return self._undescribed(body, media, headers, names)
        require_version(headers[names.specversion])
        if media:
            self._has_form(media)
        event = self._event(type_name)
        schema = headers.get(names.schema)
        if schema is not None and schema != self._schemas[event] and schema.startswith(_TYPE_URL):
            raise Undecodable(f"the type says {event.type}, the dataschema {schema.decode(errors='replace')}")
        return Incoming(event, body, headers, names.prefix)

    def _within_limits(self, message: Message, headers: Mapping[str, bytes]) -> None:
        limits = self._limits
        if message.body is not None and len(message.body) > limits.body:
            raise Undecodable(
                f"the body has {len(message.body)} bytes, more than the {limits.body} that are read"
            )
        if len(message.headers) > limits.headers:
            raise Undecodable(f"{len(message.headers)} headers, more than the {limits.headers} that are read")
        if sum(map(len, headers)) + sum(map(len, headers.values())) > limits.header_bytes:
            raise Undecodable(f"the headers have more than the {limits.header_bytes} bytes that are read")

    def _names_in(self, headers: Mapping[str, bytes]) -> _Names:
        for names in self._names:
            if names.specversion in headers:
                return names
        return self._names[0]

    def _structured(self, media: str, body: bytes) -> Incoming:
        attributes, data, name = structured.read(media, body)
        require_version(attributes["specversion"])
        event = self._event(attributes["type"])
        if name is not None and name != event.full_name:
            raise Undecodable(f"the CloudEvent's type is {event.type} and its data a {name[:200]}")
        self._has_form(media_type(attributes.get("datacontenttype", b"").decode(errors="replace")))
        return Incoming(event, data, attributes)

    def _undescribed(self, body: bytes, media: str, headers: Mapping[str, bytes], names: _Names) -> Incoming:
        if "__value_schema_id" in headers or body[:1] == b"\0":
            raise Undecodable("the message is framed with a schema id, and no schema registry is configured")
        if self._topic.wire_format is WireFormat.CLOUDEVENTS_STRUCTURED and not media:
            return self._structured(STRUCTURED[self._topic.data_format], body)
        if not self._plain:
            raise Undecodable(
                f"no CloudEvents attributes, and topic {self._topic.name} does not accept PLAIN: "
                "declare `accept: [WIRE_FORMAT_PLAIN]` if such messages are expected"
            )
        self._has_form(media)
        event, data = unwrap(self._topic, body, self._topic.data_format)
        return Incoming(event, data, headers, names.prefix)

    def _tombstone(self, headers: Mapping[str, bytes], names: _Names) -> Incoming:
        if not self._topic.compact:
            raise Undecodable(
                f"the message has no body, and topic {self._topic.name} is not compacted: no tombstones"
            )
        return Incoming(self._topic.events[0], None, headers, names.prefix)

    def _event(self, type_name: bytes) -> Event[Any]:
        event = self._events.get(type_name)
        if event is None:
            shown = type_name[:200].decode(errors="replace")
            raise UnknownEvent(f"topic {self._topic.name}: `{shown}` is no event type known here")
        return event

    def _has_form(self, media: str) -> None:
        form = self._topic.data_format
        if not is_data(media, form):
            raise Undecodable(f"content type `{media}`, but topic {self._topic.name} is {form.value}")
