"""What a topic message is made of: its events, as an envelope's oneof members or as itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

from eventwire.v1.options_pb2 import TopicOptions
from eventwire_gen import names
from eventwire_gen.faults import Place
from eventwire_gen.options import (
    event_place,
    has_event_options,
    header_option,
    header_place,
    topic_options,
    topic_place,
)
from eventwire_gen.run import Run
from eventwire_gen.schema import Declared, declared_in

_FIELD = DescriptorProto.FIELD_FIELD_NUMBER
_ONEOF = DescriptorProto.ONEOF_DECL_FIELD_NUMBER
_MESSAGE_TYPES = (FieldDescriptorProto.TYPE_MESSAGE, FieldDescriptorProto.TYPE_GROUP)
_ALIKE = 0.85
"""Of `difflib`: one letter more, less or of the other case."""


@dataclass(frozen=True, slots=True)
class Member:
    """An event of a topic. `field` is the oneof member that holds it, None if the topic is its own event."""

    place: Place
    message: Declared
    field: FieldDescriptorProto | None = None

    @property
    def handler(self) -> str:
        """The handler method's name."""
        return names.handler(self.name[-1])

    @property
    def name(self) -> tuple[str, ...]:
        """What the event's generated names are made of."""
        return (self.field.name,) if self.field else self.message.nested


@dataclass(frozen=True, slots=True)
class Shape:
    """A topic message, its options, and its events as far as they can be events."""

    declared: Declared
    options: TopicOptions
    members: tuple[Member, ...]
    envelope: bool

    def at(self, option: str = "", index: int | None = None) -> Place:
        """Where an option of the topic stands."""
        return topic_place(self.declared.place, option, index)


def topics_in(run: Run, file: str) -> tuple[Shape, ...]:
    """The topics of a file; what is wrong with their oneofs is added to the run's faults."""
    return tuple(
        _shape(run, declared, options)
        for declared in declared_in(run.schema.files[file])
        if (options := topic_options(declared.proto)) is not None
    )


def event_names(schema_message: Declared) -> frozenset[str]:
    """The full names of the events of a topic message, without any check."""
    oneof = _event_oneof(schema_message.proto)
    if oneof is None:
        return frozenset({schema_message.full_name})
    fields = schema_message.proto.field
    return frozenset(field.type_name.removeprefix(".") for field in fields if _is_member(field, oneof))


def _shape(run: Run, declared: Declared, options: TopicOptions) -> Shape:
    oneof = _event_oneof(declared.proto)
    if oneof is None:
        _check_misspelt(run, declared)
        return Shape(declared, options, (Member(declared.place, declared),), envelope=False)
    members = tuple(_members(run, declared, oneof))
    _check_twice(run, declared, members)
    _check_unused(run, declared, members)
    return Shape(declared, options, members, envelope=True)


def _event_oneof(message: DescriptorProto) -> int | None:
    for index, oneof in enumerate(message.oneof_decl):
        if oneof.name == "event" and any(_is_member(field, index) for field in message.field):
            return index
    return None


def _check_misspelt(run: Run, declared: Declared) -> None:
    message = declared.proto
    for index, oneof in enumerate(message.oneof_decl):
        types = {field.type for field in message.field if _is_member(field, index)}
        if types and types.issubset(_MESSAGE_TYPES) and _is_alike(oneof.name):
            text = (
                f'"oneof {oneof.name}" is not "oneof event", so {declared.full_name} would be a single event'
            )
            run.faults.add(
                declared.place.inside(_ONEOF, index),
                f"{text}: name it event, or less alike (its name is not part of what is written)",
            )


def _is_alike(name: str) -> bool:
    return bool(get_close_matches(name.lower(), ["event"], cutoff=_ALIKE))


def _is_member(field: FieldDescriptorProto, oneof: int) -> bool:
    return field.HasField("oneof_index") and field.oneof_index == oneof and not field.proto3_optional


def _members(run: Run, declared: Declared, oneof: int) -> Iterator[Member]:
    for index, field in enumerate(declared.proto.field):
        place = declared.place.inside(_FIELD, index)
        if not _is_member(field, oneof):
            text = f'topic {declared.full_name} has "oneof event", so field "{field.name}" beside it is not allowed'
            run.faults.add(place, f"{text}: move it into the event messages")
        elif field.type not in _MESSAGE_TYPES:
            run.faults.add(
                place, f'member "{field.name}" of oneof event is no message: only messages are events'
            )
        elif message := run.schema.messages.get(field.type_name.removeprefix(".")):
            yield from _member(run, Member(place, message, field))


def _member(run: Run, member: Member) -> Iterator[Member]:
    if topic_options(member.message.proto) is None:
        yield member
    else:
        text = f"{member.message.full_name} is a topic itself and cannot be an event of another one"
        run.faults.add(member.place, text)


def _check_unused(run: Run, declared: Declared, members: tuple[Member, ...]) -> None:
    if has_event_options(declared.proto):
        text = (
            f"{declared.full_name} is the envelope of its events: set (eventwire.v1.event) on their messages"
        )
        run.faults.add(event_place(declared.place), text)
    for member in members:
        if member.field is not None and header_option(member.field) is not None:
            text = f'member "{member.field.name}" holds an event and cannot be a header: mark a field of the event'
            run.faults.add(header_place(member.place), text)


def _check_twice(run: Run, declared: Declared, members: tuple[Member, ...]) -> None:
    messages: dict[str, str] = {}
    handlers: dict[str, str] = {}
    for member in members:
        name, handler = member.name[-1], member.handler
        if first := messages.get(member.message.full_name):
            text = f"{member.message.full_name} is an event of topic {declared.full_name} twice"
            run.faults.add(member.place, f'{text}, as "{first}" and "{name}"')
        elif first := handlers.get(handler):
            run.faults.add(
                member.place, f'members "{first}" and "{name}" would have one handler, {handler}: rename one'
            )
        messages.setdefault(member.message.full_name, name)
        handlers.setdefault(handler, name)
