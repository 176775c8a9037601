"""The Redis inbox: an event's key is leased, and marked done after its handler. Needs the extra `redis-inbox`."""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

from eventwire.errors import ConfigurationError, InboxBusy, InboxUnavailable, MissingDriver

try:
    from redis.asyncio import Redis
except ModuleNotFoundError as error:
    raise MissingDriver("RedisInbox needs redis-py: pip install 'eventwire[redis-inbox]'") from error
from redis.exceptions import RedisError

from eventwire.handler import AnyHandler
from eventwire.inbox.base import Handle
from eventwire.inbox.key import InboxKey

if TYPE_CHECKING:
    from eventwire.context import Context

__all__ = ["RedisInbox"]

_log = logging.getLogger("eventwire.inbox")
_WEEK = 7 * 24 * 3600.0
_ANSWER = 5.0
"""Seconds that Redis is given for one answer."""
_SHORTEST = 0.01
_LOOK = 0.05
"""Seconds between looks at a lease of another."""
_UNSURE = 10_000
"""How many leases are remembered whose taking was not answered."""

_TAKE = """
local held = redis.call('GET', KEYS[1])
if not held or held == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 1
end
if held == 'done' then return 2 end
return 0
"""
_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
# A lease that ran out and that nobody took is as good as held: the handler has returned.
_FINISH = """
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] and held ~= 'done' then return 0 end
redis.call('SET', KEYS[1], 'done', 'PX', ARGV[2])
return 1
"""
_GIVE_BACK = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class RedisInbox:
    """Handles an event once for its group while all goes well, and never by two at once.

    The event's key is leased before the handler, and marked done after it. The lease is renewed while the handler runs.
    Who finds it leased waits, for up to `patience` seconds, and then raises InboxBusy; who finds it done skips the
    event. When a process dies its lease runs out, and the next delivery is handled. When Redis does not answer, nothing
    is handled: InboxUnavailable.

    What it does not promise: the handler's effects are not in Redis's transaction. A process that dies after the
    effect and before the event is marked, or that stands still for longer than its lease, has the handler run again;
    so has a Redis that forgets (evicts keys, fails over, restarts without `appendfsync always`). For effects that are
    exactly once use SqlInbox, with the effects in its database.

    `client`: a URL, or a client of redis-py's asyncio, which stays the caller's to close. `lease`: seconds, more than a
    process may stand still. `retention`: seconds that an event is remembered, more than the longest time after which
    the broker can deliver it again. `prefix`: of its keys, of one length each.
    """

    def __init__(
        self,
        client: str | Redis,
        *,
        lease: float = 30.0,
        retention: float = _WEEK,
        patience: float = 10.0,
        prefix: str = "eventwire:inbox:",
    ) -> None:
        if lease < _SHORTEST or retention < lease:
            raise ConfigurationError(
                f"a lease has {_SHORTEST} seconds or more, and retention is no shorter than it"
            )
        self._owned = isinstance(client, str)
        self._redis = _client(client) if isinstance(client, str) else client
        self._store = Store(self._redis)
        self._unsure: dict[str, str] = {}
        self._outliving: set[asyncio.Task[None]] = set()
        self._lease = lease
        self._retention = retention
        self._patience = patience
        self._prefix = prefix

    def check(self, handlers: Sequence[type[AnyHandler]]) -> None:
        """See Inbox.check: it serves them all."""

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        """See Inbox.lifespan."""
        await self._store.check()
        try:
            yield
        finally:
            for task in self._outliving:
                task.cancel()
            await asyncio.gather(*self._outliving, return_exceptions=True)
            if self._owned:
                with suppress(RedisError, TimeoutError):
                    async with asyncio.timeout(_ANSWER):
                        await self._redis.aclose()

    async def once(self, key: InboxKey, context: Context, handle: Handle) -> bool:
        """See Inbox.once."""
        name = self._prefix + key.digest
        lease = Lease(self._store, name, self._unsure.pop(name, None), self._lease, self._retention)
        try:
            if not await self._take(lease, context):
                return False
        except InboxBusy:
            raise
        except BaseException:
            self._remember(name, lease.token)
            raise
        thread = _Thread(asyncio.get_running_loop())
        context.around = thread.run
        try:
            await lease.keep(handle)
        except BaseException:
            if thread.give_up() or thread.succeeded:
                self._outlive(lease, thread)
            else:
                await asyncio.shield(lease.give_back())
            raise
        await lease.finish()
        return True

    def _outlive(self, lease: Lease, thread: _Thread) -> None:
        """A thread cannot be cancelled: until it ends nobody else may handle the event."""
        task = asyncio.create_task(lease.outlive(thread), name="eventwire inbox thread")
        self._outliving.add(task)
        task.add_done_callback(self._outliving.discard)

    def _remember(self, name: str, token: str) -> None:
        """Redis may hold it, though its answer did not come: the next attempt need not wait for itself."""
        self._unsure[name] = token
        if len(self._unsure) > _UNSURE:
            del self._unsure[next(iter(self._unsure))]

    async def _take(self, lease: Lease, context: Context) -> bool:
        """Whether it is ours now; False when the event was handled. Waiting ends when the worker stops."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience
        while (found := await lease.take()) is None:
            if loop.time() >= deadline:
                raise InboxBusy(
                    f"another delivery of the event was still being handled after {self._patience:g} s"
                )
            await context.sleep(_LOOK)
        return found


class Store:
    """Redis, asked within bounds. Raises InboxUnavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def check(self) -> None:
        """Whether it answers, and runs scripts."""
        await self._answer(self._redis.eval("return 1", 0))

    async def run(self, script: str, name: str, *arguments: str) -> object:
        """Run a script on one key."""
        return await self._answer(self._redis.eval(script, 1, name, *arguments))

    async def _answer(self, asked: object) -> object:
        try:
            async with asyncio.timeout(_ANSWER):
                return await cast("Awaitable[object]", asked)
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            raise InboxUnavailable(f"Redis: {type(error).__name__}: {str(error)[:200]}") from error


class Lease:
    """One attempt's hold of an event's key, known by a token of its own."""

    def __init__(self, store: Store, name: str, token: str | None, lease: float, retention: float) -> None:
        self._store = store
        self._name = name
        self.token = token or f"held:{secrets.token_hex(16)}"
        self._seconds = lease
        self._retention = retention
        self._ends = 0.0

    async def take(self) -> bool | None:
        """True when it is ours now, False when the event was handled, None when another has it."""
        asked = asyncio.get_running_loop().time()
        found = await self._store.run(_TAKE, self._name, self.token, _millis(self._seconds))
        self._ends = asked + self._seconds
        return {1: True, 2: False}.get(cast("int", found))

    async def keep(self, handle: Handle) -> None:
        """Run the handler and renew. Cancels it and raises InboxUnavailable when the lease is lost or has run out."""
        limit = asyncio.timeout_at(self._ends)
        try:
            async with limit:
                renewing = asyncio.create_task(self._renew(limit), name="eventwire inbox lease")
                try:
                    await handle()
                finally:
                    renewing.cancel()
                    await asyncio.gather(renewing, return_exceptions=True)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise InboxUnavailable(
                f"the lease of {self._seconds:g} s could not be renewed, so the handler was cancelled: another "
                "process may handle the event now"
            ) from error

    async def _renew(self, limit: asyncio.Timeout) -> None:
        loop = asyncio.get_running_loop()
        held = True
        while held:
            await asyncio.sleep(self._seconds / 3)
            asked = loop.time()
            try:
                held = await self._renewed()
            except InboxUnavailable as error:
                _log.warning("inbox: a lease could not be renewed, trying again: %s", error)
                continue
            limit.reschedule(asked + self._seconds if held else asked)

    async def _renewed(self) -> bool:
        return bool(await self._store.run(_RENEW, self._name, self.token, _millis(self._seconds)))

    async def outlive(self, thread: _Thread) -> None:
        """Renew until the thread has ended, however often Redis does not answer; then finish or give back."""
        while not await thread.ended_within(self._seconds / 3):
            with suppress(InboxUnavailable):
                await self._renewed()
        with suppress(InboxUnavailable):
            await (self.finish() if thread.succeeded else self.give_back())

    async def finish(self) -> None:
        """Mark the event as handled. Raises InboxUnavailable when another holds it, or Redis does not answer."""
        if not await self._store.run(_FINISH, self._name, self.token, _millis(self._retention)):
            raise InboxUnavailable(
                f"the handler took longer than its lease of {self._seconds:g} s, and another process handles the event"
            )

    async def give_back(self) -> None:
        """Let the next attempt have it at once; the lease runs out by itself when Redis does not answer."""
        with suppress(InboxUnavailable):
            await self._store.run(_GIVE_BACK, self._name, self.token)


class _Thread:
    """What is known of a synchronous handler's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._guard = threading.Lock()
        self._running = False
        self._given_up = False
        self._ended = asyncio.Event()
        self.succeeded = False

    def run(self, work: Callable[[], None]) -> None:
        """In the thread: the handler, unless it was given up before it began."""
        with self._guard:
            if self._given_up:
                return
            self._running = True
        try:
            work()
            self.succeeded = True
        finally:
            with self._guard:
                self._running = False
            with suppress(RuntimeError):  # the loop may have ended
                self._loop.call_soon_threadsafe(self._ended.set)

    def give_up(self) -> bool:
        """Whether it runs on; if it has not begun it never will."""
        with self._guard:
            self._given_up = True
            return self._running

    async def ended_within(self, seconds: float) -> bool:
        """Wait for its end."""
        try:
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        except TimeoutError:
            return False
        return True


def _millis(seconds: float) -> str:
    return str(round(seconds * 1000))


def _client(url: str) -> Redis:
    client: Any = Redis
    return cast("Redis", client.from_url(url, socket_timeout=_ANSWER, socket_connect_timeout=_ANSWER))
