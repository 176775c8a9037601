from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import UninterpretedOption
from hypothesis import given
from hypothesis import strategies as st

from eventwire.codecs import protobuf as codecs
from tests.unit.codecs.messages import Sample

MESSAGES = st.builds(
    Sample,
    text=st.text(),
    number=st.integers(-(2**63), 2**63 - 1),
    share=st.floats(allow_nan=False),
    flag=st.booleans(),
    raw=st.binary(),
    maybe=st.none() | st.text(),
    colour=st.integers(-(2**31), 2**31 - 1),
)


@given(MESSAGES)
def test_binary_gives_the_message_back(message: Any) -> None:
    codec = codecs.binary(Sample)
    assert codec.decode(codec.encode(message)) == message


@given(MESSAGES)
def test_json_gives_the_message_back(message: Any) -> None:
    codec = codecs.json(Sample)
    assert codec.decode(codec.encode(message)) == message


@pytest.mark.parametrize("data", [b"\x0a\xff", b"\xff", b"\x0a\x01\xff"])
def test_bytes_that_are_no_message_are_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        codecs.binary(Sample).decode(data)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"number": "x"}', b"\xff", b'{"flag": 1}'])
def test_text_that_is_no_json_of_the_message_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        codecs.json(Sample).decode(data)


def test_json_of_a_newer_message_is_read() -> None:
    assert codecs.json(Sample).decode(b'{"text": "a", "newer": {}}') == Sample(text="a")


def test_a_missing_required_field_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="name_part"):
        codecs.binary(UninterpretedOption.NamePart).encode(UninterpretedOption.NamePart())


@pytest.mark.parametrize(
    ("path", "unset"),
    [
        ("text", ""),
        ("number", 0),
        ("maybe", None),
        ("inner.text", None),
        ("inner.inner.maybe", None),
        ("class", ""),
    ],
)
def test_path_tells_unset_from_empty(path: str, unset: object) -> None:
    assert codecs.path(Sample, path)(Sample()) == unset


def test_path_reads_through_messages() -> None:
    message = Sample(inner=Sample(inner=Sample(maybe="", text="deep")))
    assert codecs.path(Sample, "inner.inner.text")(message) == "deep"
    assert codecs.path(Sample, "inner.inner.maybe")(message) == ""
    assert codecs.path(Sample, "inner.maybe")(message) is None
    assert codecs.path(Sample, "inner.text")(message) == ""


def test_path_reads_fields_that_hide_methods_and_keywords() -> None:
    message = Sample(**{"class": "c", "HasField": "h", "maybe": "m"})
    assert [codecs.path(Sample, path)(message) for path in ("class", "HasField", "maybe")] == ["c", "h", "m"]


def test_path_of_another_version_of_the_message_is_refused() -> None:
    with pytest.raises(TypeError, match="no message"):
        codecs.path(Sample, "text.inner")


@given(st.integers(-62135596800, 253402300799), st.integers(0, 999_999_999))
def test_timestamp_is_seconds_since_the_epoch(seconds: int, nanos: int) -> None:
    message = Sample()
    message.at.seconds, message.at.nanos = seconds, nanos
    assert codecs.timestamp(Sample, "at")(message) == seconds + nanos / 1e9


def test_timestamp_that_is_unset_is_none() -> None:
    assert codecs.timestamp(Sample, "inner.at")(Sample()) is None


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("text", "a", "a"),
        ("text", "", ""),
        ("number", -5, "-5"),
        ("share", 0.5, "0.5"),
        ("flag", True, "true"),
        ("flag", False, "false"),
        ("raw", b"\xff", "/w=="),
        ("colour", 1, "1"),
        ("colour", 7, "7"),
        ("maybe", None, None),
        ("maybe", "", ""),
    ],
)
def test_text_writes_scalars_as_cloudevents_does(path: str, value: object, text: str | None) -> None:
    assert codecs.text(Sample, path)(Sample(**{path: value})) == text
