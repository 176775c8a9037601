"""What must type-check: inboxes as users write them."""

from typing import assert_type

from redis.asyncio import Redis
from sqlalchemy import Engine, MetaData, Table
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker
from typing_extensions import override

from eventwire import Bus, Context, Worker
from eventwire.inbox import Inbox
from eventwire.inbox.redis import RedisInbox
from eventwire.inbox.sql import SqlInbox, inbox_table, transient
from shop.orders.v1.orders_eventwire import OrdersHandler, OrdersSyncHandler
from shop.orders.v1.orders_pb2 import OrderCancelled, OrderPlaced


class OwnSession(AsyncSession):
    """A session class of the application's."""


class Billing(OrdersHandler):
    @override
    async def on_order_placed(self, event: OrderPlaced, context: Context) -> None:
        assert_type(context.resource(AsyncSession), AsyncSession)
        assert_type(context.resource(OwnSession), OwnSession)


class Mailing(OrdersSyncHandler):
    @override
    def on_order_cancelled(self, event: OrderCancelled, context: Context) -> None:
        assert_type(context.resource(Session), Session)


def inboxes(engine: Engine, async_engine: AsyncEngine, client: Redis) -> list[Inbox]:
    return [
        SqlInbox(engine),
        SqlInbox(async_engine, table=inbox_table(MetaData(), schema="shop"), retention=None),
        SqlInbox(sessionmaker(engine)),
        SqlInbox(async_sessionmaker(async_engine, class_=OwnSession), patience=1),
        RedisInbox(client),
        RedisInbox("redis://localhost", lease=10, retention=3600),
    ]


async def work(bus: Bus, inbox: SqlInbox, error: Exception) -> None:
    assert_type(inbox_table(), Table)
    assert_type(await inbox.purge(older_than=3600), int)
    assert_type(transient(error), bool)
    worker = Worker(bus, Billing(), group="billing", inbox=inbox)
    assert_type(worker.counts.duplicates, int)
    await worker.run()
