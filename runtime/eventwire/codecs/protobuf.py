"""Messages of protobuf's own Python library (`messages=protobuf`)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeVar, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, EncodeError, Message
from google.protobuf.message_factory import GetMessageClass

from eventwire.topic import Codec

M = TypeVar("M", bound=Message)


def binary(cls: type[M]) -> Codec[M]:
    """Protobuf's binary format. `encode` raises ValueError for a message that lacks a required field."""
    serialize: Callable[[M], bytes] = cls.SerializeToString
    parse = cls.FromString

    def encode(message: M) -> bytes:
        try:
            return serialize(message)
        except EncodeError as error:
            raise ValueError(str(error)) from error

    def decode(data: bytes) -> M:
        try:
            return parse(data)
        except DecodeError as error:
            raise ValueError(str(error)) from error

    return Codec(encode, decode)


def json(cls: type[M]) -> Codec[M]:
    """ProtoJSON. Fields that this version of the message does not know are skipped, as in the binary format."""
    from google.protobuf import json_format  # noqa: PLC0415  binary topics need none of it

    def encode(message: M) -> bytes:
        try:
            return json_format.MessageToJson(message, indent=None).encode()
        except json_format.SerializeToJsonError as error:
            raise ValueError(str(error)) from error

    well_known = cls.DESCRIPTOR.full_name.startswith("google.protobuf.")

    def decode(data: bytes) -> M:
        text = data.decode()
        if not well_known and not text.lstrip().startswith("{"):
            raise ValueError("no JSON object")  # json_format takes an array for an empty message
        try:
            return json_format.Parse(text, cls(), ignore_unknown_fields=True)
        except json_format.ParseError as error:
            raise ValueError(str(error)) from error

    return Codec(encode, decode)


def path(cls: type[M], path: str) -> Callable[[M], Any]:
    """A reader of the field at `path`: None where it, or a message on the way to it, is unset."""
    return _reader(cls, path)


def timestamp(cls: type[M], path: str) -> Callable[[M], float | None]:
    """A reader of the google.protobuf.Timestamp at `path`, in seconds since the Unix epoch."""
    read = _reader(cls, path)

    def seconds(message: M) -> float | None:
        value = read(message)
        return None if value is None else value.seconds + value.nanos / 1e9

    return seconds


def text(cls: type[M], path: str) -> Callable[[M], str | None]:
    """A reader of the scalar at `path` as text (CloudEvents 1.0, "Type System"): bytes in base64, enums by number."""
    read = _reader(cls, path)
    form = _form(_field(cls, path))

    def written(message: M) -> str | None:
        value = read(message)
        return None if value is None else form(value)

    return written


def _reader(cls: type[Message], path: str) -> Callable[[Any], Any]:
    first, _, rest = path.partition(".")
    read = _field_reader(cls, _field(cls, first))
    if not rest:
        return read
    inner = _reader(_message(_field(cls, first)), rest)

    def follow(message: Any) -> Any:
        value = read(message)
        return None if value is None else inner(value)

    return follow


def _field_reader(cls: type[Message], field: FieldDescriptor) -> Callable[[Any], Any]:
    name = field.name
    read = attrgetter(name)
    if not field.has_presence:
        return read
    has: Callable[[Any, str], bool] = cls.HasField  # of the class: a field of that name hides an instance's

    def present(message: Any) -> Any:
        return read(message) if has(message, name) else None

    return present


def _field(cls: type[Message], path: str) -> FieldDescriptor:
    first, _, rest = path.partition(".")
    field = cast("FieldDescriptor", cls.DESCRIPTOR.fields_by_name[first])
    return _field(_message(field), rest) if rest else field


def _message(field: FieldDescriptor) -> type[Message]:
    if field.message_type is None:
        raise TypeError(f"field {field.full_name} is no message: generate this module again")
    return GetMessageClass(field.message_type)


def _form(field: FieldDescriptor) -> Callable[[Any], str]:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return lambda value: b64encode(value).decode("ascii")
    if field.type == FieldDescriptor.TYPE_BOOL:
        return lambda value: "true" if value else "false"
    return str
