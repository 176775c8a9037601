"""The worker: one consumer group's member, from its broker connections to its handlers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self, cast

from eventwire.binding import Calls, bind, classes_of
from eventwire.bus import Bus
from eventwire.context import Context, Origin
from eventwire.counts import Counts
from eventwire.deadline import Deadlines
from eventwire.dispatch import Shared, chain
from eventwire.errors import Closed, ConfigurationError
from eventwire.group import Policies, own_topics
from eventwire.handler import AnyHandler, HandlerFactory
from eventwire.health import Situation, Standstill, WorkerHealth, judged
from eventwire.holding import Holding
from eventwire.inbox.base import Inbox
from eventwire.lanes import Lanes
from eventwire.middleware.base import HandleNext, Middleware, checked
from eventwire.middleware.breaker import TRANSIENT, Breaker
from eventwire.middleware.delayed import attempt_of
from eventwire.policy import (
    BreakerPolicy,
    DeadLetterPolicy,
    OnDead,
    OnExhausted,
    Ordering,
    RetryPolicy,
    Start,
    Unhandled,
)
from eventwire.route import spec_of
from eventwire.runner import Runner
from eventwire.signals import on_stop_signals
from eventwire.tasks import end, first, left_at
from eventwire.topic import Topic
from eventwire.transactions import joined, require_no_inbox
from eventwire.transport import (
    Consumer,
    Delivery,
    Subscription,
    TopicPartition,
    Transport,
)

_log = logging.getLogger("eventwire.worker")
_FETCH = 500
_SETTLE_TIMEOUT = 30.0


class Worker:
    """Handles the events of its handlers' topics as one member of consumer group `group`.

    `handlers` are handler instances, which serve all deliveries, or factories of one per delivery. `concurrency`: how
    many deliveries are handled at once; those of one key of an ordered topic always one after the other. `timeout`:
    seconds for one attempt, None for no limit. `retry`, `dead_letter`: the group's own policies instead of the topics'.
    `on_exhausted`: what happens to an event that no attempt could handle where the dead letter is disabled.
    `on_dead`: whether the next events of a key are handled after one was dead-lettered.
    `transient`: classes of errors that are no fault of an event: they count as no attempt, and pause the handling until
    an attempt succeeds; `breaker` says when other failures do so, too. `unhandled`: what happens to events that no
    handler overrides. `start`: where a group that never read begins.
    `max_uncommitted`: per partition, the bound on what is fetched and not settled. `commit_interval`: seconds between
    settlements at the broker. `grace`: seconds that a stopping worker gives its handlers. `transactional`: the
    application's id, the same in all its processes: what handlers publish through their context is seen together with
    the settlement of their events, once, or not at all (Kafka). `inbox`: knows what was
    handled, so that an event which is delivered again is not handled again.

    An event is acknowledged after its handler returned, or when it is safe in the dead letter; never on cancellation.
    Raises HandlerError and ConfigurationError.
    """

    def __init__(
        self,
        bus: Bus,
        *handlers: AnyHandler | HandlerFactory,
        group: str,
        concurrency: int = 64,
        timeout: float | None = None,
        retry: RetryPolicy | None = None,
        dead_letter: DeadLetterPolicy | None = None,
        on_exhausted: OnExhausted = OnExhausted.STOP,
        on_dead: OnDead = OnDead.CONTINUE,
        transient: Sequence[type[Exception]] = TRANSIENT,
        breaker: BreakerPolicy | None = None,
        unhandled: Unhandled = Unhandled.SKIP,
        start: Start = Start.EARLIEST,
        max_uncommitted: int = 1000,
        commit_interval: float = 0.2,
        grace: float = 20.0,
        middleware: Sequence[Middleware] = (),
        inbox: Inbox | None = None,
        transactional: str | None = None,
    ) -> None:
        if not group:
            raise ConfigurationError("a worker needs the name of its consumer group")
        if concurrency < 1 or max_uncommitted < 1:
            raise ConfigurationError("concurrency and max_uncommitted are 1 or more")
        if timeout is not None and timeout <= 0:
            raise ConfigurationError("timeout is more than 0 seconds, or None for no limit")
        self.counts = Counts()
        self._bus = bus
        self._bound = bind(handlers, self._threads)
        self._policies = Policies(
            group,
            retry,
            dead_letter,
            on_exhausted,
            on_dead,
            unhandled,
            timeout,
            checked(middleware, "on_handle"),
        )
        self._inbox = inbox
        self._transactional = transactional
        if inbox is not None:
            require_no_inbox(transactional)
            inbox.check(classes_of(handlers))
        self._start = start
        self._max_uncommitted = max_uncommitted
        self._commit_interval = commit_interval
        self._grace = grace
        self._concurrency = concurrency
        self._pool: Executor | None = None
        self._topics = {topic.name: topic for topic in self._bound}
        if len(self._topics) < len(self._bound):
            raise ConfigurationError(
                "two of the handlers' topics have one name: write a worker for each, or give one another name"
            )
        self._ordered = {name for name, topic in self._topics.items() if topic.ordering is Ordering.PER_KEY}
        self._breaker = Breaker(breaker or BreakerPolicy(), tuple(transient))
        self._shared = Shared(self.counts, self._breaker, Deadlines(_SETTLE_TIMEOUT))
        self._own = {topic: own_topics(topic, self._policies) for topic in self._bound}
        self._retried: frozenset[str] = frozenset()
        self._chains = {topic.name: self._chain(topic, calls) for topic, calls in self._bound.items()}
        self._take_own_topics()
        self._lanes = Lanes(self._handle, self._lane_of, concurrency)
        delays = {spec.name: spec.delay for own in self._own.values() for spec in own.levels}
        self._holding = Holding(delays, self._lanes.put)
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._reading = asyncio.Event()
        self._ran = False
        self._background: asyncio.Task[None] | None = None
        self._host: asyncio.Task[Any] | None = None
        self._interrupted = False
        self._consumers: tuple[Consumer, ...] = ()
        self._standstill = Standstill()
        self._ended: BaseException | None = None

    def _chain(self, topic: Topic[Any], calls: Calls) -> HandleNext:
        return chain(
            self._bus.transport(topic),
            topic,
            calls,
            policies=self._policies,
            shared=self._shared,
            validate=self._bus.validate,
            inbox=self._inbox,
            transactional=self._transactional is not None,
        )

    def _take_own_topics(self) -> None:
        """What comes from a group's own topics is handled as what comes from the topic itself."""
        own = {spec.name: topic.name for topic, topics in self._own.items() for spec in topics.read}
        self._retried = frozenset(own)
        self._ordered |= {name for name, of in own.items() if of in self._ordered}
        self._topics |= {name: self._topics[of] for name, of in own.items()}
        self._chains |= {name: self._chains[of] for name, of in own.items()}

    @property
    def bus(self) -> Bus:
        """Where it reads."""
        return self._bus

    @property
    def group(self) -> str:
        """Its consumer group."""
        return self._policies.group

    @property
    def topics(self) -> tuple[Topic[Any], ...]:
        """What it reads: the topics of its handlers."""
        return tuple(self._bound)

    @property
    def dead_letter(self) -> DeadLetterPolicy | None:
        """The group's own policy for dead letters; None where each topic's counts."""
        return self._policies.dead_letter

    def health(self) -> WorkerHealth:
        """How it is. Does no I/O, takes microseconds. For its event loop's thread."""
        progress = self._lanes.progress
        stuck = [f"{topic} cannot be written: {why}" for topic, why in self._shared.stuck.items()]
        return judged(
            Situation(
                self._policies.group,
                started=self._reading.is_set(),
                stopping=self._stop.is_set(),
                ended=self._ended,
                progress=None if progress is None else asyncio.get_running_loop().time() - progress,
                in_flight=self._lanes.in_flight,
                waiting=self._lanes.waiting - self._lanes.in_flight + len(self._holding),
                paused=self._breaker.why,
                stuck=stuck,
                consumers=tuple(consumer.health() for consumer in self._consumers),
                counts=self.counts,
            ),
            self._standstill,
        )

    # --- life

    async def run(self) -> None:
        """Work until `stop()`, SIGTERM or SIGINT; then drain within `grace`. A second signal stops at once. Once only.

        Starts the bus when it is not started, and then closes it too. Of several workers in one process one runs,
        inside the blocks (`async with`) of the others: an event loop has one place for signal handlers.

        Raises CapabilityError, TopicMissing, Unreachable, BrokerError, WorkerStopped, and Closed when it ran before.
        Nothing that was not handled is acknowledged.
        """
        self._once()
        with on_stop_signals(self._signalled):
            await self._run()

    def stop(self) -> None:
        """Ask for the end: what runs is finished within `grace`, what has not started is given back."""
        self._stop.set()

    async def stopping(self) -> None:
        """Return when the worker was asked to stop, by `stop()` or a signal; it may then still drain."""
        await self._stop.wait()

    async def __aenter__(self) -> Self:
        """Work in the background, without signal handlers; return when every topic is being read.

        When the worker fails, the block is cancelled, and raises the worker's error.
        """
        self._once()
        background = asyncio.create_task(self._run(), name=f"eventwire worker {self._policies.group}")
        reading = asyncio.create_task(self._reading.wait())
        try:
            await asyncio.wait({background, reading}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await end([background])
            raise
        finally:
            reading.cancel()
        if background.done():
            await background
        self._background, self._host = background, asyncio.current_task()
        background.add_done_callback(self._failed)
        return self

    def _failed(self, background: asyncio.Task[None]) -> None:
        if self._host is not None and not background.cancelled() and background.exception() is not None:
            self._interrupted = self._host.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        host, self._host = self._host, None
        if host is not None and self._interrupted:
            host.uncancel()
        self.stop()
        if self._background is not None:
            await self._background

    def _once(self) -> None:
        if self._ran:
            raise Closed("a worker runs once: make a new one")
        self._ran = True

    async def _run(self) -> None:
        started = self._bus.started
        await self._bus.start()
        try:
            async with AsyncExitStack() as stack:
                async with left_at(self._stop):  # a broker that does not answer must not outlast a signal
                    if self._inbox is not None:
                        await stack.enter_async_context(self._inbox.lifespan())
                    self._tell_of_succession()
                    for transport, topics in (await self._by_transport()).items():
                        self._consumers += (await self._join(stack, transport, topics),)
                await self._work(self._consumers)
        except Exception as error:
            self._ended = error
            raise
        finally:
            if isinstance(self._pool, ThreadPoolExecutor):
                self._pool.shutdown(wait=False, cancel_futures=True)
            if not started:
                await self._bus.close()

    def _tell_of_succession(self) -> None:
        for topic in self._bound:
            if topic.replaces:
                _log.warning(
                    "topic %s replaces %s, whose events this version does not read: a worker of the old topic does",
                    topic.name, topic.replaces,
                )  # fmt: skip

    async def _by_transport(self) -> dict[Transport, list[Topic[Any]]]:
        found: dict[Transport, list[Topic[Any]]] = {}
        for topic in self._bound:
            transport = await self._bus.join(topic, self._policies.group, self._own[topic].all)
            found.setdefault(transport, []).append(topic)
        return found

    async def _join(
        self, stack: AsyncExitStack, transport: Transport, topics: Sequence[Topic[Any]]
    ) -> Consumer:
        consumer = await transport.subscribe(
            Subscription(
                self._policies.group,
                tuple(spec for topic in topics for spec in (spec_of(topic), *self._own[topic].read)),
                start=self._start,
                max_uncommitted=self._max_uncommitted,
                commit_interval=self._commit_interval,
                on_revoke=self._revoked,
                transactional=self._transactional,
            )
        )
        stack.push_async_callback(consumer.close)
        return consumer

    # --- working

    async def _work(self, consumers: Sequence[Consumer]) -> None:
        """Until told to stop, or something ends. The consumers settle when they are closed: bounded, unlike a flush."""
        lanes = asyncio.create_task(self._lanes.run())
        intakes = [asyncio.create_task(self._take_in(consumer)) for consumer in consumers]
        stop = asyncio.create_task(self._stop.wait())
        self._reading.set()
        try:
            done, _ = await asyncio.wait({lanes, stop, *intakes}, return_when=asyncio.FIRST_COMPLETED)
            await end(intakes)
            if lanes not in done:
                await self._drain(0.0 if stop not in done else self._grace)
        finally:
            await end([*intakes, stop, lanes])
        for task in (lanes, *intakes):
            if not task.cancelled() and (error := task.exception()) is not None:
                raise first(error)

    async def _take_in(self, consumer: Consumer) -> None:
        while True:
            self._holding.pass_on(await consumer.fetch(_FETCH))
            await asyncio.sleep(0)  # a consumer that always has messages must not starve the handlers

    def _lane_of(self, delivery: Delivery) -> tuple[str, int, bytes | None] | None:
        message = delivery.message
        return (message.topic, delivery.partition, message.key) if message.topic in self._ordered else None

    async def _handle(self, delivery: Delivery, runner: Runner) -> Exception | None:
        name = delivery.message.topic
        topic, origin = self._topics[name], cast("Origin", self._bus)
        if self._transactional is not None:
            origin = joined(self._bus, topic, delivery, self._shared.deadlines)
        context = Context(origin, topic, self._policies.group, delivery, runner)
        if name in self._retried:
            context.attempt += attempt_of(delivery.message) - 1
        await self._chains[name](context)
        return context.failure

    async def _revoked(self, partitions: Collection[TopicPartition]) -> None:
        self._holding.give_back(partitions)
        await self._lanes.drain(partitions, self._grace / 2)

    async def _drain(self, seconds: float) -> None:
        self._holding.give_back(None)
        drain = asyncio.create_task(self._lanes.drain(None, seconds))
        now = asyncio.create_task(self._stop_now.wait())
        try:
            await asyncio.wait({drain, now}, return_when=asyncio.FIRST_COMPLETED)
            if not drain.done():
                await self._lanes.drain(None, 0.0)
            await drain
        finally:
            await end([drain, now])

    def _threads(self) -> Executor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(
                self._concurrency, thread_name_prefix=f"eventwire-{self._policies.group}"
            )
        return self._pool

    def _signalled(self) -> None:
        if self._stop.is_set():
            self._stop_now.set()
        self._stop.set()
