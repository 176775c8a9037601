from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from eventwire.dead_letters import Letter, Selection
from eventwire.dead_letters.pace import Pace
from eventwire.message import Message
from eventwire.policy import DataFormat
from eventwire.wire import structured
from tests.unit.dead_letters.support import letter


def test_what_a_letter_says() -> None:
    said = Letter(letter(7))
    assert (said.id, said.type, said.error, said.reason, said.attempts) == (
        "id-7",
        "a.v1.A",
        "ValueError",
        "no 7",
        3,
    )
    assert (said.origin, said.time, said.pointer) == (
        "t:1:7",
        datetime(2026, 1, 1, 0, 0, 7, tzinfo=UTC),
        False,
    )


def test_attributes_by_the_broker_s_prefixes() -> None:
    message = Message("d", b"", None, (("cloudEvents_type", b"x.v1.X"), ("ce-id", b"9")))
    said = Letter(message, ("cloudEvents_", "ce-"))
    assert (said.type, said.id) == ("x.v1.X", "9")


@pytest.mark.parametrize("form", list(DataFormat))
def test_attributes_of_a_structured_event(form: DataFormat) -> None:
    attributes = {"id": "9", "source": "/s", "type": "x.v1.X", "specversion": "1.0"}
    body = structured.write(attributes, b"{}" if form is DataFormat.JSON else b"", form, "x.v1.X")
    media = {
        DataFormat.JSON: "application/cloudevents+json",
        DataFormat.PROTOBUF: "application/cloudevents+protobuf",
    }
    said = Letter(Message("d", body, content_type=media[form]))
    assert (said.type, said.id) == ("x.v1.X", "9")
    assert Letter(Message("d", b"\xff", content_type=media[form])).type is None


@pytest.mark.parametrize(("name", "text"), [("attempts", "many"), ("attempts", "9" * 30), ("time", "now")])
def test_nonsense_is_nothing(name: str, text: str) -> None:
    said = Letter(letter(1, **{name: text}))
    assert getattr(said, name) is None


def test_a_second_replay_says_when_it_was_itself() -> None:
    first = Letter(letter(1)).replayed("t", to_source=True)
    second = Letter(replace(first, headers=(*first.headers, ("eventwire_dead_error", b"E"))))
    names = [name for name, _ in second.replayed("t", to_source=True).headers]
    assert names == ["ce_type", "tenant", "eventwire_replayed"]


def test_a_letter_without_a_time_matches_no_times() -> None:
    said = Letter(letter(1, time=""))
    assert Selection().matches(said)
    assert not Selection(since=datetime(2020, 1, 1, tzinfo=UTC)).matches(said)


async def test_pace() -> None:
    now = 0.0
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        waits.append(seconds)

    pace = Pace(10, 100, clock=lambda: now, sleep=sleep)
    assert pace.burst == 2
    for _ in range(20):
        await pace.wait(2)
    assert now == pytest.approx(19 * 0.2)
    now += 60  # a pause is not made up for
    await pace.wait(2)
    await pace.wait(2)
    assert waits[-1] == pytest.approx(0.2)
    with pytest.raises(ValueError, match="more than 0"):
        Pace(0, 1)
