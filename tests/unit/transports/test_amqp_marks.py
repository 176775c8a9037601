import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventwire.message import Message
from eventwire.transports.amqp.marks import Mark, fingerprint

prints = st.text("0123456789abcdef", min_size=1, max_size=4)
marks = st.builds(
    Mark,
    owner=st.text(max_size=4),
    handed=st.none() | prints,
    deaths=st.dictionaries(prints, st.integers(0, 9), max_size=5),
    clean=st.frozensets(prints, max_size=5),
    alone=st.booleans(),
)


@given(marks)
def test_a_mark_comes_back(mark: Mark) -> None:
    assert Mark.decoded(mark.encoded()) == mark


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"[]", b"{}", b"null", b'{"owner":"a","handed":null,"deaths":[],"clean":[]}']
)
def test_what_cannot_be_read_charges_nobody(body: bytes) -> None:
    assert Mark.decoded(body) == Mark()


def test_who_was_being_handled_by_another_is_charged_once() -> None:
    left = Mark("a", "f", {"f": 1, "g": 2}, frozenset({"c"}), alone=True)
    heir = left.inherited("b")
    assert heir == Mark("b", None, {"f": 2, "g": 2})
    assert heir.inherited("c") == Mark("c", None, {"f": 2, "g": 2})


def test_who_was_being_handled_beside_others_is_known_and_not_charged() -> None:
    assert Mark("a", "f").inherited("b") == Mark("b", None, {"f": 0})
    assert Mark("a", "f", {"f": 1}).inherited("b") == Mark("b", None, {"f": 1})


def test_who_lost_a_connection_and_lives_charges_nobody() -> None:
    assert Mark("a", "f", {"f": 1}).inherited("a") == Mark("a", None, {"f": 1})
    assert Mark("a", "f").inherited("a") == Mark("a", None, {})


def test_the_last_charged_are_remembered() -> None:
    many = Mark("a", "new", {f"f{n}": 1 for n in range(150)}, alone=True).inherited("b")
    assert len(many.deaths) == 100
    assert many.deaths["new"] == 1
    assert "f0" not in many.deaths
    assert len(json.loads(many.encoded())["deaths"]) == 100


def test_who_is_settled_is_forgotten() -> None:
    assert Mark("a", None, {"f": 1, "g": 2}).without("f") == Mark("a", None, {"g": 2})


@given(st.binary(max_size=9), st.none() | st.binary(max_size=5), st.text(max_size=5))
def test_a_message_is_the_same_whatever_the_broker_adds(
    body: bytes, key: bytes | None, identity: str
) -> None:
    headers = (("a", b"1"), ("b", b"2"))
    sent = Message("t", body, key, headers, None, identity)
    again = Message("t", body, key, (("x-delivery-count", b"3"), *reversed(headers)), None, identity)
    assert fingerprint(sent) == fingerprint(again)


def test_messages_differ_in_every_part() -> None:
    parts = [
        Message("t", b"1"),
        Message("u", b"1"),
        Message("t", b"2"),
        Message("t", b"1", b"k"),
        Message("t", b"1", headers=(("h", b""),)),
        Message("t", b"1", content_type="c"),
        Message("t", b"1", id="i"),
    ]
    assert len({fingerprint(message) for message in parts}) == len(parts)
