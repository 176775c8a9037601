from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventwire.partition import murmur2, partition_of


def signed(value: int) -> int:
    return value - (1 << 32) if value >> 31 else value


@pytest.mark.parametrize(  # the vectors of Kafka's own UtilsTest.testMurmur2
    ("key", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_java_vectors(key: bytes, expected: int) -> None:
    assert signed(murmur2(key)) == expected
    assert partition_of(key, 12) == (expected & 0x7FFFFFFF) % 12


def reference(data: bytes) -> int:
    """Java's loop written out once more, with its signed bytes and its fall-through switch."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(data)) & mask
    for i in range(len(data) // 4):
        k = sum((data[4 * i + j] & 0xFF) << 8 * j for j in range(4))
        k = k * m & mask
        k ^= k >> 24
        k = k * m & mask
        h = (h * m & mask) ^ k
    tail = len(data) & ~3
    rest = len(data) % 4
    if rest == 3:
        h ^= (data[tail + 2] & 0xFF) << 16
    if rest >= 2:
        h ^= (data[tail + 1] & 0xFF) << 8
    if rest >= 1:
        h ^= data[tail] & 0xFF
        h = h * m & mask
    h ^= h >> 13
    h = h * m & mask
    return h ^ h >> 15


@given(st.binary(max_size=70))
def test_it_agrees_with_the_reference(data: bytes) -> None:
    assert murmur2(data) == reference(data)


@given(st.binary(max_size=40), st.integers(1, 1000))
def test_partitions_are_in_range(key: bytes, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions
