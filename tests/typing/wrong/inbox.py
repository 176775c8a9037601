"""What must not type-check: inboxes. `# wrong: CODE RULE` names mypy's code and pyright's rules at the line that both mark."""

import redis
from eventwire import Bus, Context, Worker
from eventwire.inbox.redis import RedisInbox
from eventwire.inbox.sql import SqlInbox
from shop.orders.v1.orders_eventwire import OrdersHandler
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session


def sessions(context: Context) -> Session:
    found: Session = context.resource(AsyncSession)  # wrong: assignment reportAssignmentType
    return found


def inboxes(bus: Bus, handler: OrdersHandler, engine: AsyncEngine, client: redis.Redis) -> None:
    SqlInbox("postgresql+psycopg://localhost/shop")  # wrong: arg-type reportArgumentType
    RedisInbox(client)  # wrong: arg-type reportArgumentType
    Worker(bus, handler, group="billing", inbox=engine)  # wrong: arg-type reportArgumentType
