from __future__ import annotations

import time
import uuid

from eventwire.ids import uuid7


def test_ids_are_version_7_and_unique() -> None:
    ids = [uuid7() for _ in range(1000)]
    assert len(set(ids)) == 1000
    for text in ids:
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, text)


def test_the_first_48_bits_are_the_time_in_milliseconds() -> None:
    before = time.time_ns() // 1_000_000
    moment = uuid.UUID(uuid7()).int >> 80
    assert before <= moment <= time.time_ns() // 1_000_000
