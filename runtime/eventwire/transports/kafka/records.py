"""Messages as Kafka records and back. The content type travels as header `content-type`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from eventwire.message import Headers, Message

_CONTENT_TYPE = "content-type"
_LENGTH = len(_CONTENT_TYPE)


@lru_cache(maxsize=256)
def _content_type_header(value: str) -> tuple[str, bytes]:
    return _CONTENT_TYPE, value.encode()


def write_headers(message: Message) -> list[tuple[str, bytes]]:
    """The record's headers: the message's, after them its content type."""
    if message.content_type is None:
        return list(message.headers)
    return [*message.headers, _content_type_header(message.content_type)]


def read_headers(written: Sequence[tuple[str, bytes | None]]) -> tuple[Headers, str | None]:
    """The message's headers and content type. Names may repeat or be empty; a null value is read as b""."""
    content_type: str | None = None
    headers: list[tuple[str, bytes]] = []
    for name, value in written:
        if len(name) == _LENGTH and name.lower() == _CONTENT_TYPE:
            content_type = (value or b"").decode(errors="replace")
        else:
            headers.append((name, b"" if value is None else value))
    return tuple(headers), content_type
