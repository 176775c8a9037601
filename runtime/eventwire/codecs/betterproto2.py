"""Messages of betterproto2 (`messages=betterproto2`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from betterproto2 import Message
from betterproto2.casing import safe_snake_case

from eventwire.codecs.attributes import reader, timestamp_reader, written
from eventwire.topic import Codec

M = TypeVar("M", bound=Message)


def binary(cls: type[M]) -> Codec[M]:
    """Protobuf's binary format."""

    def decode(data: bytes) -> M:
        try:
            return cls.parse(data)
        except Exception as error:  # it raises what its parser happens to run into
            raise ValueError(f"no {cls.__name__}: {error}") from error

    return Codec(bytes, decode)


def json(cls: type[M]) -> Codec[M]:
    """ProtoJSON. Fields that this version of the message does not know are skipped, as in the binary format."""

    def encode(message: M) -> bytes:
        return message.to_json().encode()

    def decode(data: bytes) -> M:
        try:
            return cls.from_json(data, ignore_unknown_fields=True)
        except Exception as error:  # it raises what its parser happens to run into
            raise ValueError(f"no {cls.__name__}: {error}") from error

    return Codec(encode, decode)


def path(cls: type[M], path: str) -> Callable[[M], Any]:  # noqa: ARG001  the same for all backends
    """A reader of the field at `path`: None where it, or a message on the way to it, is unset."""
    return reader(path, safe_snake_case, getattr)


def timestamp(cls: type[M], path: str) -> Callable[[M], float | None]:  # noqa: ARG001  the same for all backends
    """A reader of the google.protobuf.Timestamp at `path`, in seconds since the Unix epoch."""
    return timestamp_reader(reader(path, safe_snake_case, getattr))


def text(cls: type[M], path: str) -> Callable[[M], str | None]:  # noqa: ARG001  the same for all backends
    """A reader of the scalar at `path` as text (CloudEvents 1.0, "Type System"): bytes in base64, enums by number."""
    return written(reader(path, safe_snake_case, getattr))
