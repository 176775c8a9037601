"""Messages of betterproto 2.0.0b7 (`messages=betterproto`).

There is no `json`: it writes enum values without the prefix of their .proto names, which is not ProtoJSON.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar, cast

from betterproto import DATETIME_ZERO, TYPE_MESSAGE, FieldMetadata, Message, serialized_on_wire
from betterproto.casing import safe_snake_case

from eventwire.codecs.attributes import reader, timestamp_reader, written
from eventwire.topic import Codec

M = TypeVar("M", bound=Message)


def binary(cls: type[M]) -> Codec[M]:
    """Protobuf's binary format."""

    def decode(data: bytes) -> M:
        try:
            return cls().parse(data)
        except Exception as error:  # it raises what its parser happens to run into
            raise ValueError(f"no {cls.__name__}: {error}") from error

    return Codec(bytes, decode)


def path(cls: type[M], path: str) -> Callable[[M], Any]:  # noqa: ARG001  the same for all backends
    """A reader of the field at `path`: None where it, or a message on the way to it, is unset."""
    return reader(path, safe_snake_case, _present)


def timestamp(cls: type[M], path: str) -> Callable[[M], float | None]:  # noqa: ARG001  the same for all backends
    """A reader of the google.protobuf.Timestamp at `path`, in seconds since the Unix epoch."""
    return timestamp_reader(reader(path, safe_snake_case, _present))


def text(cls: type[M], path: str) -> Callable[[M], str | None]:  # noqa: ARG001  the same for all backends
    """A reader of the scalar at `path` as text (CloudEvents 1.0, "Type System"): bytes in base64, enums by number."""
    return written(reader(path, safe_snake_case, _present))


def _present(message: Message, name: str) -> Any:
    kind = _kind(type(message), name)
    if kind.group or kind.optional:
        # Reading an unset oneof member raises.
        return getattr(message, name) if message.is_set(name) else None
    value = getattr(message, name)
    return value if kind.proto_type != TYPE_MESSAGE or _on_wire(value) else None


def _on_wire(value: object) -> bool:
    # Reading an unset message makes one, so `is_set` cannot tell; an unset time is the epoch.
    return serialized_on_wire(value) if isinstance(value, Message) else value != DATETIME_ZERO


@cache
def _kind(cls: type[Message], name: str) -> FieldMetadata:
    known = {field.name: field for field in fields(cast("Any", cls))}
    kind: FieldMetadata = known[name].metadata["betterproto"]
    return kind
