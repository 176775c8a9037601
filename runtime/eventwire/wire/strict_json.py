"""JSON as RFC 8259 has it: no NaN, and no object with two members of one name, which readers would take differently."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def loads(body: bytes) -> Any:
    """The value. Raises ValueError."""
    try:
        return json.loads(body, object_pairs_hook=_members, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _members(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("an object has two members of one name")
    return members


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
