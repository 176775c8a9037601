"""A process of test_kafka_transactions: reads numbers, and publishes each to another topic in the same transaction.

Usage: kafka_transformer.py URL SOURCE TARGET

Multiples of 97 fail at their first attempt, after they were published; 13 always does.
"""

from __future__ import annotations

import asyncio
import logging
import sys

from typing_extensions import override

from eventwire.bus import Bus
from eventwire.context import Context
from eventwire.handler import Handler
from eventwire.policy import Ordering, RetryPolicy
from eventwire.topic import Codec, Event, FieldKind, FieldPath, Topic
from eventwire.worker import Worker

PARTITIONS = 3
HOPELESS = 13


def numbers(name: str) -> Topic[int]:
    event = Event(
        type="test.Number",
        full_name="test.Number",
        message=int,
        codec=Codec(lambda number: b"%d" % number, int),
        handler="on_number",
        key=FieldPath("number", FieldKind.INTEGER, lambda number: number % 50),
    )
    return Topic(name, "test.Number", "test", (event,), partitions=PARTITIONS, ordering=Ordering.PER_KEY)


def transformer(source: Topic[int], target: Topic[int]) -> Handler:
    class Numbers(Handler, topic=source):
        async def on_number(self, event: int, context: Context) -> None: ...

    class Transformer(Numbers):
        @override
        async def on_number(self, event: int, context: Context) -> None:
            await context.send(target, event, id=str(event))
            if event == HOPELESS or (event and event % 97 == 0 and context.attempt == 1):
                raise ValueError(event)

    return Transformer()


async def main(url: str, source: str, target: str) -> None:
    bus = Bus(url, declare=True)
    retry = RetryPolicy(max_attempts=2, initial_backoff=0.01)
    await Worker(
        bus,
        transformer(numbers(source), numbers(target)),
        group=f"{source}.group",
        retry=retry,
        transactional="transformer",
    ).run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(main(*sys.argv[1:]))
