"""Messages as Kafka records and back. The content type travels as header `content-type`."""

from __future__ import annotations

from functools import lru_cache
from typing import cast

from eventwire.errors import InvalidEvent
from eventwire.message import Headers, Message

_CONTENT_TYPE = "content-type"
_LENGTH = len(_CONTENT_TYPE)


@lru_cache(maxsize=256)
def _content_type_header(value: str) -> tuple[str, bytes]:
    return _CONTENT_TYPE, value.encode()


def write_headers(message: Message) -> list[tuple[str, bytes]]:
    """The record's headers: the message's, after them its content type. Raises InvalidEvent.

    What is no text is found here: the client finds it when the message has its place in a batch.
    """
    headers = list(message.headers)
    try:
        for name, _ in headers:
            if len(name) == _LENGTH and name.lower() == _CONTENT_TYPE:
                raise InvalidEvent(f"header `{name}` is written by Eventwire itself", message)
            if not name.isascii():
                name.encode()
        if message.content_type is not None:
            headers.append(_content_type_header(message.content_type))
    except UnicodeEncodeError as error:
        raise InvalidEvent(f"a header name or the content type is no UTF-8 text: {error}", message) from error
    return headers


def read_headers(written: tuple[tuple[str, bytes | None], ...]) -> tuple[Headers, str | None]:
    """The message's headers and content type. Names may repeat or be empty; a null value is read as b"".

    Most records have one content type and no null: those make one new tuple, since each costs the garbage collector.
    """
    found = -1
    for place, (name, value) in enumerate(written):
        if value is None or (len(name) == _LENGTH and name.lower() == _CONTENT_TYPE):
            if value is None or found >= 0:
                return _read_odd(written)
            found = place
    whole = cast("Headers", written)
    if found < 0:
        return whole, None
    return whole[:found] + whole[found + 1 :], _text(whole[found][1])


def _read_odd(written: tuple[tuple[str, bytes | None], ...]) -> tuple[Headers, str | None]:
    """Of several content types the last counts."""
    types = [_text(value or b"") for name, value in written if name.lower() == _CONTENT_TYPE]
    headers = tuple((name, value or b"") for name, value in written if name.lower() != _CONTENT_TYPE)
    return headers, types[-1] if types else None


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
