"""The options of eventwire/v1/options.proto, read from descriptors, and where they stand in the file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from eventwire.v1 import options_pb2
from eventwire.v1.options_pb2 import EventOptions, TopicOptions
from eventwire_gen.faults import Place

_MESSAGE_OPTIONS = DescriptorProto.OPTIONS_FIELD_NUMBER
_FIELD_OPTIONS = FieldDescriptorProto.OPTIONS_FIELD_NUMBER
_TOPIC = options_pb2.topic.number
_EVENT = options_pb2.event.number
_FIELD = options_pb2.field.number


def topic_options(message: DescriptorProto) -> TopicOptions | None:
    """The topic option of a message, None if it is no topic."""
    if not message.HasField("options") or not message.options.HasExtension(options_pb2.topic):
        return None
    return message.options.Extensions[options_pb2.topic]


def event_options(message: DescriptorProto) -> EventOptions:
    """The event option of a message, empty if it has none."""
    return message.options.Extensions[options_pb2.event]


def has_event_options(message: DescriptorProto) -> bool:
    """Whether a message has the event option."""
    return message.options.HasExtension(options_pb2.event)


def has_settings(message: DescriptorProto) -> bool:
    """Whether a message has the event option, or one of its fields a header."""
    return has_event_options(message) or any(header_option(field) is not None for field in message.field)


def header_option(field: FieldDescriptorProto) -> str | None:
    """The header that a field is copied into, if any."""
    if not field.options.HasExtension(options_pb2.field):
        return None
    settings = field.options.Extensions[options_pb2.field]
    return settings.header if settings.HasField("header") else None


def topic_place(message: Place, option: str = "", index: int | None = None) -> Place:
    """Where `option` ("retry.jitter", empty for the whole) of a topic message stands; `index` for a repeated one."""
    steps = _numbers(TopicOptions, option)
    return message.inside(_MESSAGE_OPTIONS, _TOPIC, *steps, *([] if index is None else [index]))


def event_place(message: Place, option: str = "", index: int | None = None) -> Place:
    """Where `option` of an event message stands."""
    steps = _numbers(EventOptions, option)
    return message.inside(_MESSAGE_OPTIONS, _EVENT, *steps, *([] if index is None else [index]))


def header_place(field: Place) -> Place:
    """Where the header option of a field stands."""
    return field.inside(_FIELD_OPTIONS, _FIELD, options_pb2.FieldOptions.HEADER_FIELD_NUMBER)


def unknown_numbers(options: Message) -> Iterator[int]:
    """Numbers of options that this generator's vocabulary does not have."""
    yield from _unknown(options)
    for descriptor, value in options.ListFields():
        if descriptor.message_type is not None and not descriptor.is_repeated:
            yield from unknown_numbers(value)


def numbers(options: Message) -> set[int]:
    """The numbers of all options that are set, known or not."""
    return {*_unknown(options), *(descriptor.number for descriptor, _ in options.ListFields())}


def _unknown(options: Message) -> Iterator[int]:
    fields = UnknownFieldSet(options)
    return (fields[index].field_number for index in range(len(fields)))


def _numbers(options: type[Message], option: str) -> Iterator[int]:
    descriptor = cast("Descriptor", options.DESCRIPTOR)
    for name in filter(None, option.split(".")):
        field = descriptor.fields_by_name[name]
        yield field.number
        if field.message_type is not None:
            descriptor = field.message_type
