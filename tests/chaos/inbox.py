"""The stage of runs with an inbox: each event is published several times, and its effect must be there once."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from sqlalchemy import Column, Integer, MetaData, String, Table, func, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from eventwire.context import Context
from eventwire.inbox.redis import RedisInbox
from eventwire.inbox.sql import SqlInbox, inbox_table
from eventwire.policy import Ordering
from eventwire.topic import FieldKind, FieldPath, Topic
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.chaos.scene import Scene, step_of

METADATA = MetaData()
EFFECTS = Table("effects", METADATA, Column("id", Integer, primary_key=True), Column("step", String))
INBOX = inbox_table(METADATA)
CONCURRENCY = 16
LEASE = 1.0


@dataclass(frozen=True)
class InboxScene(Scene):
    """`store` is the inbox's URL. Of one event in `fails` the first attempts raise."""

    program: str = "tests.chaos.inbox_worker"
    store: str = ""
    fails: int = 7

    @cached_property
    def topic(self) -> Topic[Any]:
        """Without keys, so that copies of one event are spread over the partitions and handled at once."""
        step: FieldPath[Any] = FieldPath("order_id", FieldKind.STRING, lambda event: str(step_of(event)))
        topic = super().topic
        events = tuple(replace(event, key=None, id=step) for event in topic.events)
        return replace(topic, events=events, ordering=Ordering.NONE)

    @asynccontextmanager
    async def engine(self) -> AsyncGenerator[AsyncEngine]:
        """A new engine on a SQL store, with a connection for each handler."""
        engine = create_async_engine(self.store, pool_size=CONCURRENCY, max_overflow=4)
        try:
            yield engine
        finally:
            await engine.dispose()

    @asynccontextmanager
    async def inbox(self) -> AsyncGenerator[SqlInbox | RedisInbox]:
        """The inbox that the store is for."""
        if self.store.startswith("redis"):
            yield RedisInbox(self.store, lease=LEASE, prefix=f"{self.topic_name}:")
            return
        async with self.engine() as engine:
            yield SqlInbox(engine, table=INBOX)

    async def effects(self) -> dict[str, int]:
        """How often each event's effect is in the store."""
        ours = EFFECTS.c.step.startswith(self.topic_name)
        async with self.engine() as engine, engine.connect() as connection:
            counted = select(EFFECTS.c.step, func.count()).where(ours).group_by(EFFECTS.c.step)
            return {str(step): int(count) for step, count in await connection.execute(counted)}


async def charge(scene: Scene, event: OrderPlaced, context: Context) -> None:
    """An effect in the inbox's transaction; some raise after it, at their first attempt."""
    assert isinstance(scene, InboxScene)
    effect = insert(EFFECTS).values(step=f"{scene.topic_name} {step_of(event)}")
    await context.resource(AsyncSession).execute(effect)
    fail(scene, event, context)


async def mail(scene: Scene, event: OrderPlaced, context: Context) -> None:
    """An effect elsewhere: the journal's line, which comes after what raises and takes its time."""
    assert isinstance(scene, InboxScene)
    await asyncio.sleep(0.005)
    fail(scene, event, context)


def fail(scene: InboxScene, event: OrderPlaced, context: Context) -> None:
    """Raise at the first attempt of some."""
    if context.attempt == 1 and zlib.crc32(event.order_id.encode()) % scene.fails == 0:
        raise ValueError(f"{step_of(event)} fails at its first attempt")
