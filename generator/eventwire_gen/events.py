"""The settings of an event message: key, id, time, subject and headers, each checked and read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto

from eventwire_gen.faults import Place
from eventwire_gen.options import event_options, event_place, header_option, header_place, unknown_numbers
from eventwire_gen.paths import KINDS, PathError, find, type_name
from eventwire_gen.run import Run
from eventwire_gen.schema import Declared
from eventwire_gen.shape import Member, Shape
from eventwire_gen.view import HeaderView, PathView

_HEADER_NAME = re.compile(r"[a-z0-9]{1,20}")
_TIMESTAMP = "google.protobuf.Timestamp"
_RESERVED_HEADERS = frozenset(
    {
        *("id", "source", "specversion", "type", "datacontenttype", "dataschema", "subject", "time", "data"),
        *("traceparent", "tracestate"),
    }
)
"""CloudEvents 1.0's own attributes, and W3C Trace Context's."""


def check(run: Run, message: Declared) -> None:
    """Add the faults of an event's options that do not depend on its topic to the run's."""
    options = event_options(message.proto)
    if options.HasField("type") and not options.type:
        run.faults.add(
            event_place(message.place, "type"), "type is empty: leave it out for the message's full name"
        )
    for number in unknown_numbers(options):
        text = (
            f"option number {number} of eventwire.v1 is unknown here: the .proto is newer than this generator"
        )
        run.faults.add(event_place(message.place), text)


def check_alone(run: Run, message: Declared) -> None:
    """Add the faults of a message's event and field options to the run's, as far as they show without its topic."""
    check(run, message)
    id_path(run, message)
    subject_path(run, message)
    time_path(run, message)
    headers(run, message)
    if path := event_options(message.proto).key_field:
        _key_field(run, message, path, event_place(message.place, "key_field"))


def event_type(message: Declared) -> str:
    """The CloudEvents `type`."""
    return event_options(message.proto).type or message.full_name


def keys(run: Run, topic: Shape) -> tuple[PathView | None, ...]:
    """The key of each event of a topic, all of one type or all None."""
    found = [_key(run, topic, member) for member in topic.members]
    first = next((field for field in found if field is not None), None)
    if first is not None:
        for member, field in zip(topic.members, found, strict=True):
            _check_key_type(run, topic, member, field, first)
    return tuple(
        PathView(_key_path(topic, member), KINDS[field.type]) if field is not None else None
        for member, field in zip(topic.members, found, strict=True)
    )


def id_path(run: Run, message: Declared) -> PathView | None:
    """The path of the event's id."""
    return _text_path(run, message, "id_field", ("STRING", "BYTES"))


def subject_path(run: Run, message: Declared) -> PathView | None:
    """The path of the event's subject."""
    return _text_path(run, message, "subject_field", ("STRING",))


def time_path(run: Run, message: Declared) -> str | None:
    """The path of the event's time."""
    options = event_options(message.proto)
    if not options.HasField("time_field"):
        return None
    field = _find(run, message, options.time_field, event_place(message.place, "time_field"), "time_field")
    if field is not None and type_name(field) != _TIMESTAMP:
        text = f'time_field "{options.time_field}" is of type {type_name(field)}, not {_TIMESTAMP}'
        run.faults.add(event_place(message.place, "time_field"), text)
    return options.time_field


def headers(run: Run, message: Declared) -> tuple[HeaderView, ...]:
    """The fields of an event that are copied into headers."""
    found: dict[str, HeaderView] = {}
    for index, field in enumerate(message.proto.field):
        name = header_option(field)
        if name is None:
            continue
        place = header_place(message.place.inside(DescriptorProto.FIELD_FIELD_NUMBER, index))
        descriptor = run.schema.descriptor(message).fields_by_name[field.name]
        for text in _header_faults(name, descriptor):
            run.faults.add(place, text)
        if name in found:
            run.faults.add(place, f'header "{name}" is already that of field "{found[name].path}"')
        found[name] = HeaderView(name, field.name)
    return tuple(found.values())


def _header_faults(name: str, field: FieldDescriptor) -> Iterator[str]:
    if not _HEADER_NAME.fullmatch(name):
        yield f'header "{name}" is no CloudEvents attribute name: 1 to 20 lower-case letters and digits'
    elif name in _RESERVED_HEADERS:
        yield f'header "{name}" is an attribute that Eventwire writes itself'
    if field.is_repeated:
        yield f'field "{field.name}" is {"a map" if _is_map(field) else "repeated"} and cannot be a header'
    elif field.message_type is not None:
        yield f'field "{field.name}" is a message and cannot be a header'


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _key(run: Run, topic: Shape, member: Member) -> FieldDescriptor | None:
    path = _key_path(topic, member)
    if not path:
        _check_empty_key(run, topic, member)
        return None
    return _key_field(run, member.message, path, _key_place(topic, member))


def _key_field(run: Run, message: Declared, path: str, place: Place) -> FieldDescriptor | None:
    field = _find(run, message, path, place, "key_field")
    if field is None or field.type in KINDS:
        return field
    text = f'key_field "{path}" is of type {type_name(field)} in {message.full_name}'
    run.faults.add(place, f"{text}: a key is a string, bytes, integer or enum")
    return None


def _check_empty_key(run: Run, topic: Shape, member: Member) -> None:
    if _own_key(member) or topic.options.HasField("key_field"):
        run.faults.add(_key_place(topic, member), "key_field is empty: leave it out for events without a key")


def _check_key_type(
    run: Run, topic: Shape, member: Member, field: FieldDescriptor | None, first: FieldDescriptor
) -> None:
    if field is None:
        if not _key_path(topic, member):
            text = f"{member.message.full_name} has no key, other events of topic {topic.declared.full_name} have one"
            run.faults.add(member.place, f"{text}: set key_field")
    elif type_name(field) != type_name(first):
        text = f'key_field "{_key_path(topic, member)}" is {type_name(field)} in {member.message.full_name}'
        text += f" and {type_name(first)} in {_owner(topic, first)}: one type in all events"
        run.faults.add(_key_place(topic, member), text)


def _owner(topic: Shape, first: FieldDescriptor) -> str:
    return str(first.containing_type.full_name) if first.containing_type else topic.declared.full_name


def _own_key(member: Member) -> bool:
    return event_options(member.message.proto).HasField("key_field")


def _key_path(topic: Shape, member: Member) -> str:
    return event_options(member.message.proto).key_field if _own_key(member) else topic.options.key_field


def _key_place(topic: Shape, member: Member) -> Place:
    return event_place(member.message.place, "key_field") if _own_key(member) else topic.at("key_field")


def _text_path(
    run: Run, message: Declared, option: Literal["id_field", "subject_field"], kinds: tuple[str, ...]
) -> PathView | None:
    options = event_options(message.proto)
    if not options.HasField(option):
        return None
    path: str = getattr(options, option)
    place = event_place(message.place, option)
    field = _find(run, message, path, place, option)
    if field is None:
        return None
    kind = KINDS.get(field.type, "")
    if kind not in kinds:
        wanted = " or ".join(kind.lower() for kind in kinds)
        run.faults.add(place, f'{option} "{path}" is of type {type_name(field)}, not {wanted}')
        return None
    return PathView(path, kind)


def _find(run: Run, message: Declared, path: str, place: Place, option: str) -> FieldDescriptor | None:
    try:
        return find(run.schema.descriptor(message), path)
    except PathError as error:
        run.faults.add(place, f'{option} "{path}": {error}')
        return None
