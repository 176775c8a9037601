from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum

import pytest

from eventwire.codecs.attributes import reader, timestamp_reader, written


class Colour(IntEnum):
    RED = 1


@dataclass
class Node:
    value: object = None
    node: Node | None = None


def read(path: str) -> object:
    return reader(path, str.lower, getattr)(Node(value=3, node=Node(value="deep")))


def test_reader_spells_names_and_follows_messages() -> None:
    assert read("Value") == 3
    assert read("Node.VALUE") == "deep"
    assert read("node.node.value") is None


def test_time_is_in_seconds() -> None:
    assert timestamp_reader(lambda value: value)(datetime(1970, 1, 2, tzinfo=UTC)) == 86400
    assert timestamp_reader(lambda value: value)(None) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, None), ("a", "a"), (True, "true"), (7, "7"), (Colour.RED, "1"), (b"\xff", "/w=="), (0.5, "0.5")],
)
def test_written_scalars(value: object, text: str | None) -> None:
    assert written(lambda given: given)(value) == text
