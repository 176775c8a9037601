"""A process of the outbox's fault run: `python -m tests.chaos.outbox_child STAGE writer|relay NAME SEED POINT`.

It ends itself with `os._exit` when it passes its point for a drawn number of times: no clean-up, as after a SIGKILL.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from eventwire.errors import Unreachable
from eventwire.message import Message, Receipt
from eventwire.outbox import Outbox, Relay
from eventwire.outbox.store import DATABASE_ERRORS, Store
from eventwire.route import Channel
from shop.orders.v1.orders_eventwire import ORDERS
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.chaos import mutants
from tests.chaos.outbox_scene import DIED, Stage, placed, tables

KEYS = 20
"""Of each writer: so many that keys of both share slots."""
_AGAIN = 0.05


class Fuse:
    """Ends the process when its point was passed often enough."""

    def __init__(self, point: str, dice: Random) -> None:
        self._point = point
        self._left = dice.randrange(1, 4)

    def passed(self, point: str) -> None:
        """The process is at this point."""
        if point == self._point:
            self._left -= 1
            if not self._left:
                os._exit(DIED)


class Writer:
    """Commits numbered events of keys that no other writer has, in transactions of several, some of which it undoes."""

    def __init__(self, stage: Stage, name: str, dice: Random, fuse: Fuse) -> None:
        self._stage = stage
        self._keys = [f"{name}-{number}" for number in range(KEYS)]
        self._dice = dice
        self._fuse = fuse
        self._outbox = Outbox(stage.open(), ORDERS, tables=tables)

    async def write(self, engine: AsyncEngine) -> None:
        """Until all are committed, whatever happens to the database."""
        while True:
            try:
                if await self._transaction(engine):
                    return
            except DATABASE_ERRORS:  # what it was is in the database: the next transaction goes on from there
                await asyncio.sleep(_AGAIN)

    async def _transaction(self, engine: AsyncEngine) -> bool:
        async with AsyncSession(engine) as session:
            counts = await self._counts(session)
            if sum(counts.values()) >= self._stage.per_writer:
                return True
            for _ in range(self._dice.randrange(1, 6)):
                key = self._dice.choice(self._keys)
                event = OrderPlaced(order_id=key, total_cents=counts[key])
                id = self._outbox.add(session, event)
                await session.execute(insert(placed).values(id=id, key=key, number=counts[key]))
                counts[key] += 1
            await session.flush()
            await asyncio.sleep(self._dice.choice((0, 0, 0.01, 0.1)))  # others commit higher numbers first
            if self._dice.random() < 0.1:
                await session.rollback()
                return False
            self._fuse.passed("before commit")
            await session.commit()
            self._fuse.passed("after commit")
        return False

    async def _counts(self, session: AsyncSession) -> dict[str, int]:
        counted = (
            select(placed.c.key, func.count()).where(placed.c.key.in_(self._keys)).group_by(placed.c.key)
        )
        found = await session.execute(counted)
        return dict.fromkeys(self._keys, 0) | {str(key): int(count) for key, count in found}


def arm(fuse: Fuse) -> None:
    """Have the relay's mechanisms pass the fuse."""
    try_many, note, settle = Channel.try_many, Store.note, Store.settle

    async def published(self: Channel, messages: Sequence[Message]) -> Sequence[Receipt | Exception]:
        outcomes = await try_many(self, messages)
        fuse.passed("after publish")
        return outcomes

    async def marking(self: Store, *arguments: Any) -> None:
        await note(self, *arguments)
        fuse.passed("before mark")  # in the transaction that deletes, before its commit

    async def marked(self: Store, *arguments: Any) -> Any:
        lost = await settle(self, *arguments)
        fuse.passed("after mark")
        return lost

    replaced: tuple[tuple[type, str, Callable[..., Any]], ...] = (
        (Channel, "try_many", published),
        (Store, "note", marking),
        (Store, "settle", marked),
    )
    for owner, name, function in replaced:
        setattr(owner, name, function)


async def relay(stage: Stage, engine: AsyncEngine) -> None:
    """Relay; where the database is down at the start, again, as a supervisor would."""
    while True:
        try:
            return await Relay(
                stage.open(), engine, tables=tables, batch=stage.batch, poll_interval=0.02, lease=stage.lease
            ).run()
        except Unreachable:
            await asyncio.sleep(_AGAIN)


async def main(path: str, role: str, name: str, seed: str, point: str) -> None:
    """Write or relay."""
    stage, dice = Stage.load(path), Random(seed)  # noqa: S311  faults to be repeated
    fuse = Fuse(point, dice)
    engine = create_async_engine(stage.database, connect_args={"connect_timeout": 10})
    try:
        if role == "writer":
            await Writer(stage, name, dice, fuse).write(engine)
        else:
            arm(fuse)
            await relay(stage, engine)
    finally:
        await engine.dispose()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    mutants.apply()
    asyncio.run(main(*sys.argv[1:]))
