from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventwire import FieldKind, InvalidEvent
from eventwire.keys import decode_key, encode_key, key_bytes
from tests.unit.shop import PLACED, Placed


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("Zürich", FieldKind.STRING, "Zürich".encode()),
        (b"\x00\xff", FieldKind.BYTES, b"\x00\xff"),
        (-42, FieldKind.INTEGER, b"-42"),
        (2**63 - 1, FieldKind.INTEGER, b"9223372036854775807"),
        (0, FieldKind.INTEGER, b"0"),
        (3, FieldKind.ENUM, b"3"),
    ],
)
def test_key_bytes_are_the_documented_ones(value: object, kind: FieldKind, expected: bytes) -> None:
    assert encode_key(value, kind) == expected


@given(st.one_of(st.text(), st.binary(), st.integers(-(2**63), 2**64)))
def test_a_key_comes_back(value: str | bytes | int) -> None:
    kind = {str: FieldKind.STRING, bytes: FieldKind.BYTES, int: FieldKind.INTEGER}[type(value)]
    if isinstance(value, str) and any(0xD800 <= ord(c) <= 0xDFFF for c in value):
        return  # protobuf strings hold no surrogates
    assert decode_key(encode_key(value, kind), kind) == value


def test_an_empty_key_is_refused_with_its_place() -> None:
    with pytest.raises(
        InvalidEvent, match=r"shop\.v1\.Placed\.order_id is the key of its topic and is empty"
    ):
        key_bytes(PLACED, Placed())
