from __future__ import annotations

import asyncio
from typing import Any

import pytest
from typing_extensions import override

from eventwire import Context, InvalidEvent, Message, OnExhausted, PublishFailed, TooLarge, WorkerStopped
from eventwire.counts import Counts
from eventwire.middleware.dead_letter import POINTER, DeadLetter
from eventwire.middleware.insist import Insist
from tests.unit.fakes import FakeDelivery, NoSleep
from tests.unit.shop import ORDERS


class Park:
    """Fails as told, then remembers what it was given."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.parked: list[Message] = []

    async def __call__(self, message: Message) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.parked.append(message)


def context(sleeper: NoSleep, deaths: int = 0) -> Context:
    bus: Any = None
    delivery = FakeDelivery()
    delivery.deaths = deaths
    delivery.message.body = b"whole"
    delivery.message.headers = (("x", b"y"), ("eventwire_dead_reason", b"forged"))
    return Context(bus, ORDERS, "g", delivery, sleeper)


def letters(name: str, park: Park, on_exhausted: OnExhausted, counts: Counts) -> DeadLetter:
    return DeadLetter(name, Insist(park, {}), on_exhausted, counts, max_attempts=3)


async def fails(_: Context) -> None:
    raise ValueError("no")


async def test_a_publish_that_fails_is_tried_again_with_backoff() -> None:
    sleeper, park, counts = NoSleep(), Park(*[PublishFailed("down")] * 3), Counts()
    there = context(sleeper)
    await letters("dead", park, OnExhausted.STOP, counts).on_handle(there, fails)
    (letter,) = park.parked
    assert (letter.body, letter.header("x"), letter.header("eventwire_dead_reason")) == (
        b"whole",
        b"y",
        b"no",
    )
    assert len(sleeper.slept) == 3
    assert sleeper.slept == sorted(sleeper.slept)
    assert (counts.dead_lettered, type(there.failure)) == (1, ValueError)


async def test_what_is_too_large_becomes_a_pointer_to_its_origin() -> None:
    sleeper, park = NoSleep(), Park(TooLarge("big"))
    await letters("dead", park, OnExhausted.STOP, Counts()).on_handle(context(sleeper), fails)
    (letter,) = park.parked
    assert (letter.content_type, letter.header("eventwire_dead_body_size")) == (POINTER, b"5")
    assert (letter.header("eventwire_dead_topic"), letter.header("eventwire_dead_offset")) == (
        b"shop.v1",
        b"0",
    )
    assert sleeper.slept == []


async def test_a_pointer_that_is_too_large_waits_like_any_failure() -> None:
    sleeper, park = NoSleep(), Park(*[TooLarge("big")] * 3)
    await letters("dead", park, OnExhausted.STOP, Counts()).on_handle(context(sleeper), fails)
    assert len(sleeper.slept) == 2
    assert park.parked[0].header("eventwire_dead_body_size") == b"5"


async def test_a_stop_is_no_failure_of_the_event() -> None:
    async def stop(_: Context) -> None:
        raise WorkerStopped("stop")

    park = Park()
    with pytest.raises(WorkerStopped):
        await letters("dead", park, OnExhausted.STOP, Counts()).on_handle(context(NoSleep()), stop)
    assert park.parked == []


async def test_an_event_that_processes_died_of_is_set_aside_unseen() -> None:
    async def never(_: Context) -> None:
        raise AssertionError("it was looked at")

    park = Park()
    await letters("dead", park, OnExhausted.STOP, Counts()).on_handle(context(NoSleep(), deaths=3), never)
    (letter,) = park.parked
    assert letter.header("eventwire_dead_error") == b"HandlerDied"
    assert letter.header("eventwire_dead_attempts") == b"3"


async def test_an_attempt_that_was_put_off_when_more_were_allowed_is_made_as_the_last() -> None:
    calls: list[int] = []

    async def handle(handled: Context) -> None:
        calls.append(handled.attempt)

    there, park = context(NoSleep()), Park()
    there.attempt = 5
    await letters("dead", park, OnExhausted.STOP, Counts()).on_handle(there, handle)
    assert (calls, park.parked) == ([3], [])


async def test_deaths_count_as_attempts() -> None:
    there = context(NoSleep(), deaths=2)
    assert there.attempt == 3


async def test_what_no_client_takes_becomes_a_pointer_too() -> None:
    park = Park(InvalidEvent("neither key nor body"))
    await letters("dead", park, OnExhausted.STOP, Counts()).on_handle(context(NoSleep()), fails)
    assert park.parked[0].content_type == POINTER


class Interrupted(NoSleep):
    """The lanes drain during the wait."""

    @override
    async def sleep(self, seconds: float) -> None:
        raise asyncio.CancelledError


async def test_a_letter_that_is_given_back_while_it_waits_keeps_nobody_unready() -> None:
    stuck: dict[str, str] = {}
    insist = Insist(Park(PublishFailed("down")), stuck)
    letters = DeadLetter("dead", insist, OnExhausted.STOP, Counts(), max_attempts=3)
    with pytest.raises(asyncio.CancelledError):
        await letters.on_handle(context(Interrupted()), fails)
    assert stuck == {}
