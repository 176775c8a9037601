"""Field paths of the options ("order.customer.id"): found, and fit for what they are used as."""

from __future__ import annotations

from difflib import get_close_matches

from google.protobuf.descriptor import Descriptor, FieldDescriptor

KINDS = {
    FieldDescriptor.TYPE_STRING: "STRING",
    FieldDescriptor.TYPE_BYTES: "BYTES",
    FieldDescriptor.TYPE_ENUM: "ENUM",
    FieldDescriptor.TYPE_INT32: "INTEGER",
    FieldDescriptor.TYPE_INT64: "INTEGER",
    FieldDescriptor.TYPE_UINT32: "INTEGER",
    FieldDescriptor.TYPE_UINT64: "INTEGER",
    FieldDescriptor.TYPE_SINT32: "INTEGER",
    FieldDescriptor.TYPE_SINT64: "INTEGER",
    FieldDescriptor.TYPE_FIXED32: "INTEGER",
    FieldDescriptor.TYPE_FIXED64: "INTEGER",
    FieldDescriptor.TYPE_SFIXED32: "INTEGER",
    FieldDescriptor.TYPE_SFIXED64: "INTEGER",
}
"""The kinds that a key may have."""

_TYPE_NAMES = {
    getattr(FieldDescriptor, name): name.removeprefix("TYPE_").lower()
    for name in dir(FieldDescriptor)
    if name.startswith("TYPE_")
}


class PathError(ValueError):
    """A path that leads nowhere, or to a field that cannot be used so."""


def find(message: Descriptor, path: str) -> FieldDescriptor:
    """The singular field at `path`; raises PathError."""
    *outer, last = path.split(".")
    for name in outer:
        field = _singular(message, name)
        if field.message_type is None:
            raise PathError(f'field "{name}" of {message.full_name} is no message, nothing is inside it')
        message = field.message_type
    return _singular(message, last)


def type_name(field: FieldDescriptor) -> str:
    """The field's type as a .proto file writes it."""
    if field.message_type is not None:
        return str(field.message_type.full_name)
    if field.enum_type is not None:
        return str(field.enum_type.full_name)
    return _TYPE_NAMES[field.type]


def _singular(message: Descriptor, name: str) -> FieldDescriptor:
    field = message.fields_by_name.get(name)
    if field is None:
        raise PathError(f'{message.full_name} has no field "{name}"{_nearest(message, name)}')
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        raise PathError(f'field "{name}" of {message.full_name} is a map')
    if field.is_repeated:
        raise PathError(f'field "{name}" of {message.full_name} is repeated')
    return field


def _nearest(message: Descriptor, name: str) -> str:
    close = get_close_matches(name, list(message.fields_by_name), n=1)
    return f', did you mean "{close[0]}"?' if close else ""
