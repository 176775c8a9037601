from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventwire import (
    BrokerError,
    Closed,
    ConfigurationError,
    Message,
    PublishFailed,
    PublishUnknown,
    Receipt,
    RetryPolicy,
    TooLarge,
    TopicMissing,
)
from eventwire.outbox.publishing import Outcomes, Publishing
from eventwire.outbox.rows import Row
from eventwire.transport import TopicSpec

RETRY = RetryPolicy(initial_backoff=1.0, max_backoff=60.0, jitter=0.0)
SPEC = TopicSpec("orders")


def row(seq: int, key: str | None = "k", *, broker: str = "default", topic: str = "orders") -> Row:
    line = seq if key is None else (broker, topic, key)
    message = Message(topic, b"", None if key is None else key.encode(), (), None, str(seq))
    return Row(seq, 0, broker, TopicSpec(topic), message, line, attempts=0)


class FakeWay:
    """Confirms what it is not told to refuse, and remembers what it was given."""

    def __init__(self, refused: dict[int, Exception] | None = None) -> None:
        self.refused = refused or {}
        self.waves: list[list[int]] = []

    async def try_many(self, messages: Sequence[Message]) -> Sequence[Receipt | Exception]:
        self.waves.append([int(message.id) for message in messages])
        await asyncio.sleep(0)
        return [self.refused.get(int(message.id)) or Receipt("orders", message.id) for message in messages]


def publishing(way: FakeWay, missing: Exception | None = None, *, of: Collection[str] = ()) -> Publishing:
    async def open_way(broker: str, spec: TopicSpec) -> FakeWay:
        if missing is not None and (not of or spec.name in of):
            raise missing
        return way

    return Publishing(open_way, RETRY)


def seqs(outcomes: Outcomes) -> tuple[list[int], list[int]]:
    return [row.seq for row in outcomes.confirmed], [failure.row.seq for failure in outcomes.failed]


async def test_a_key_goes_row_by_row_and_keys_go_together() -> None:
    way = FakeWay()
    outcomes = await publishing(way).publish(
        [row(1, "a"), row(2, "a"), row(3, "b"), row(4, None), row(5, None), row(6, "a")], lambda: True
    )
    assert way.waves == [[1, 3, 4, 5], [2], [6]]
    assert seqs(outcomes) == ([1, 3, 4, 5, 2, 6], [])


async def test_a_failure_stops_its_key_alone() -> None:
    way = FakeWay({2: TooLarge("too large")})
    works = publishing(way)
    outcomes = await works.publish(
        [row(1, "a"), row(2, "a"), row(3, "a"), row(4, "b"), row(5, "b")], lambda: True
    )
    assert seqs(outcomes) == ([1, 4, 5], [2])
    assert outcomes.failed[0].wait == 1.0
    assert (works.brokers.reasons, works.topics.reasons) == ([], [])


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30),
    st.integers(0, 40),
)
def test_no_row_passes_one_of_its_key_that_was_not_confirmed(
    plan: list[tuple[str, bool]], allowed: int
) -> None:
    rows = [row(seq, key) for seq, (key, _) in enumerate(plan)]
    way = FakeWay({seq: PublishUnknown("?") for seq, (_, fails) in enumerate(plan) if fails})

    async def publish() -> Outcomes:
        return await publishing(way).publish(rows, lambda: len(way.waves) < allowed)

    confirmed, failed = seqs(asyncio.run(publish()))
    given_out: defaultdict[str, list[int]] = defaultdict(list)
    for wave in way.waves:
        for seq in wave:
            given_out[plan[seq][0]].append(seq)
    for key in "abc":
        of_key = [seq for seq, (name, _) in enumerate(plan) if name == key]
        assert given_out[key] == of_key[: len(given_out[key])]
        assert not set(given_out[key][:-1]) & set(failed)
    assert set(confirmed) | set(failed) == {seq for wave in way.waves for seq in wave}


async def test_nothing_more_is_given_out_once_the_lease_is_over() -> None:
    way = FakeWay()
    leases = iter([True, False])
    outcomes = await publishing(way).publish([row(1, "a"), row(2, "a")], lambda: next(leases))
    assert seqs(outcomes) == ([1], [])


async def test_a_broker_that_takes_nothing_is_left_alone_and_probed_with_one_row() -> None:
    way = FakeWay({1: PublishUnknown("?"), 2: PublishFailed("no")})
    works = publishing(way)
    await works.publish([row(1, "a"), row(2, "b")], lambda: True)
    assert works.brokers.probing("default")
    assert len(works.brokers.reasons) == 1

    outcomes = await works.publish([row(3, "c"), row(4, "d"), row(5, "e", broker="other")], lambda: True)
    assert seqs(outcomes) == ([3, 5], [])
    assert works.brokers.reasons == []


async def test_a_broker_that_takes_something_is_not_down() -> None:
    works = publishing(FakeWay({1: PublishUnknown("?")}))
    await works.publish([row(1, "a"), row(2, "b")], lambda: True)
    assert works.brokers.reasons == []


@pytest.mark.parametrize("error", [TooLarge("t"), ValueError("of a middleware")])
async def test_a_fault_of_the_row_is_none_of_the_broker(error: Exception) -> None:
    works = publishing(FakeWay({1: error}))
    assert seqs(await works.publish([row(1)], lambda: True)) == ([], [1])
    assert works.brokers.reasons == []


@pytest.mark.parametrize("error", [TopicMissing("none"), ConfigurationError("no such broker")])
async def test_a_topic_that_is_missing_is_left_alone_and_the_others_go_on(error: Exception) -> None:
    works = publishing(FakeWay(), error, of=["gone"])
    outcomes = await works.publish(
        [row(1, topic="gone"), row(2, "other", topic="gone"), row(3)], lambda: True
    )
    assert seqs(outcomes) == ([3], [1])
    assert works.topics.probing(("default", "gone"))
    assert (works.brokers.reasons, works.topics.reasons) == ([], [f"topic gone: {error}"])


@pytest.mark.parametrize("error", [BrokerError("unreachable"), TimeoutError()])
async def test_a_broker_that_does_not_answer_for_a_topic_is_left_alone(error: Exception) -> None:
    works = publishing(FakeWay(), error)
    assert seqs(await works.publish([row(1), row(2)], lambda: True)) == ([], [1])
    assert works.brokers.probing("default")


async def test_a_bus_that_is_closed_ends_it() -> None:
    with pytest.raises(Closed):
        await publishing(FakeWay({1: Closed("closed")})).publish([row(1)], lambda: True)
    with pytest.raises(Closed):
        await publishing(FakeWay(), Closed("closed")).publish([row(1)], lambda: True)


async def test_a_way_is_opened_once() -> None:
    opened: list[str] = []

    async def open_way(broker: str, spec: TopicSpec) -> FakeWay:
        opened.append(broker)
        return FakeWay()

    works = Publishing(open_way, RETRY)
    for seq in range(3):
        await works.publish([row(seq)], lambda: True)
    assert opened == ["default"]
