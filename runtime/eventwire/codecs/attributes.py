"""Readers for message libraries whose messages are dataclasses."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from datetime import datetime
from typing import Any


def reader(path: str, spell: Callable[[str], str], get: Callable[[Any, str], Any]) -> Callable[[Any], Any]:
    """A reader of `path`; `spell` gives a field's attribute, `get` its value or None where it is unset."""
    names = tuple(map(spell, path.split(".")))

    def read(message: Any) -> Any:
        value = message
        for name in names:
            if value is None:
                return None
            value = get(value, name)
        return value

    return read


def timestamp_reader(read: Callable[[Any], Any]) -> Callable[[Any], float | None]:
    """A reader of a time, in seconds since the Unix epoch."""

    def seconds(message: Any) -> float | None:
        value: datetime | None = read(message)
        return None if value is None else value.timestamp()

    return seconds


def written(read: Callable[[Any], Any]) -> Callable[[Any], str | None]:
    """A reader of a scalar as CloudEvents writes it."""

    def text(message: Any) -> str | None:
        value = read(message)
        return None if value is None else _text(value)

    return text


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    return str(int(value)) if isinstance(value, int) else str(value)  # an enum's number, not its name
