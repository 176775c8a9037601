"""The paths of an event's fields that are marked `debug_redact` (descriptor.proto)."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from eventwire_gen.schema import Declared, Schema

_DEEPEST = 4


def redacted(schema: Schema, message: Declared) -> tuple[str, ...]:
    """The paths to mask.

    A map, a recursive field, or one deeper than four levels is masked whole when it holds marked fields.
    """
    return tuple(_paths(schema, message, (message.full_name,)))


def _paths(schema: Schema, message: Declared, outer: tuple[str, ...]) -> Iterator[str]:
    for field in message.proto.field:
        if field.options.debug_redact:
            yield field.name
            continue
        inner = _value_type(schema, message, field)
        if inner is None or not _sensitive(schema, inner):
            continue
        if inner.full_name in outer or len(outer) == _DEEPEST or _is_map(schema, field):
            yield field.name
        else:
            yield from (f"{field.name}.{path}" for path in _paths(schema, inner, (*outer, inner.full_name)))


def _is_map(schema: Schema, field: FieldDescriptorProto) -> bool:
    return field.type_name.removeprefix(".") not in schema.messages


def _value_type(schema: Schema, message: Declared, field: FieldDescriptorProto) -> Declared | None:
    name = field.type_name.removeprefix(".")
    for entry in message.proto.nested_type:
        if entry.options.map_entry and name == f"{message.full_name}.{entry.name}":
            name = entry.field[1].type_name.removeprefix(".")
    return schema.messages.get(name)


def _sensitive(schema: Schema, message: Declared) -> bool:
    seen: set[str] = set()
    waiting = [message]
    while waiting:
        current = waiting.pop()
        if current.full_name in seen:
            continue
        seen.add(current.full_name)
        for field in current.proto.field:
            if field.options.debug_redact:
                return True
            if inner := _value_type(schema, current, field):
                waiting.append(inner)
    return False
