"""Event ids: UUID version 7 (RFC 9562, section 5.7), so that ids sort by the time they were made."""

from __future__ import annotations

import os
import time

_VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


def uuid7() -> str:
    """A new UUIDv7 in its usual 36 characters."""
    moment = f"{time.time_ns() // 1_000_000:012x}"
    random = os.urandom(10).hex()
    return f"{moment[:8]}-{moment[8:]}-7{random[:3]}-{_VARIANT[random[3]]}{random[4:7]}-{random[7:19]}"
