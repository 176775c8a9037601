"""Topic names as Kafka takes them: 1 to 249 of `[a-zA-Z0-9._-]`, and neither `.` nor `..`.

Source: org.apache.kafka.common.internals.Topic.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256

_LEGAL = re.compile(r"(?!\.{1,2}$)[a-zA-Z0-9._-]{1,249}")
_ILLEGAL_CHARACTER = re.compile(r"[^a-zA-Z0-9._-]")
_DIGITS = 16


@lru_cache(maxsize=4096)
def kafka_name(name: str) -> str:
    """The name on the broker: `name` itself where it is legal, else its legal characters and a hash of it."""
    if _LEGAL.fullmatch(name):
        return name
    digest = sha256(name.encode()).hexdigest()[:_DIGITS]
    return f"{_ILLEGAL_CHARACTER.sub('_', name)[: 248 - _DIGITS]}-{digest}"
