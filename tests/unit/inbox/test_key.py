"""An event's key: one for all its deliveries, another for every other event."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eventwire.inbox import InboxKey

texts = st.text(max_size=8)
parts = st.binary(max_size=8)
keys = st.builds(InboxKey, texts, texts, parts, texts, parts)


@given(keys, keys)
def test_digests_are_equal_where_keys_are(one: InboxKey, two: InboxKey) -> None:
    assert (one.digest == two.digest) == (one == two)


def test_parts_do_not_run_into_each_other() -> None:
    assert InboxKey("g", "t", b"ab", "x", b"c").digest != InboxKey("g", "t", b"a", "x", b"bc").digest
    assert InboxKey("g", "t", b"", "1:x", b"").digest != InboxKey("g", "t", b"1:x", "", b"").digest


def test_ids_that_are_no_text_stay_apart() -> None:
    assert InboxKey("g", "t", b"", "x", b"\xff").digest != InboxKey("g", "t", b"", "x", b"\xfe").digest


def test_a_digest_has_one_length() -> None:
    assert {len(InboxKey("g", "t", b"", "x", b"i" * size).digest) for size in (0, 1, 100_000)} == {64}
