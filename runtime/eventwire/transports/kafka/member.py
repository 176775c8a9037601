"""One life of a group's member: its client, from joining to the loss of it, with its assignments and rebalances."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from asyncio import Future, Task
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress

from aiokafka import ConsumerRebalanceListener, ConsumerRecord
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import (
    ConsumerStoppedError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from eventwire.errors import BrokerError, OffsetOutOfRange
from eventwire.transport import TopicPartition
from eventwire.transports.kafka.assignment import AssignedPartition, Hooks, KafkaDelivery
from eventwire.transports.kafka.client import Client
from eventwire.transports.kafka.commits import CommitRefused, Committer
from eventwire.transports.kafka.faults import REFUSED, describe
from eventwire.transports.kafka.placing import Placing, Role
from eventwire.transports.kafka.suspects import Suspects
from eventwire.transports.kafka.topics import topic_missing
from eventwire.transports.kafka.transactional import TransactionalPartition
from eventwire.transports.kafka.watch import Sight, Watch

log = logging.getLogger(__name__)

_POLL_MS = 1_000
_PLACED_WITHIN = 15.0
_COMMIT_WITHIN = 2.5
_PLACING_ENDS_WITHIN = 1.5
_DELETED_AFTER = 5.0

_Polled = Mapping[KafkaPartition, Sequence[ConsumerRecord]]


class Member:
    """Reads until it is lost. `on_lost` is called at once, from whatever finds it.

    aiokafka polls in a task of its own, so that a cancelled `fetch` leaves what was polled for the next one.
    """

    def __init__(self, client: Client, role: Role, on_lost: Callable[[], None]) -> None:
        self.client = client
        self._role = role
        self._on_lost = on_lost
        self._group = role.subscription.group
        self.assigned: dict[KafkaPartition, AssignedPartition] = {}
        self._released: list[KafkaDelivery] = []
        self._polling: Task[dict[KafkaPartition, list[ConsumerRecord]]] | None = None
        self._idle_since: float | None = None
        self._woken: Future[None] = asyncio.get_running_loop().create_future()
        self.placed = asyncio.Event()
        self.lost: Future[str] = asyncio.get_running_loop().create_future()
        """Done, with the reason, when this life is over."""
        self.failure: BrokerError | None = None
        """What only a person can mend, if that ended it."""
        self._giving_up = False
        self._turn = asyncio.Lock()
        """One of placing, giving up and closing at a time."""
        self._over = False
        self._absent_since: float | None = None
        self.committer = Committer(client, self._group, self.assigned)
        self._suspects = Suspects(self.assigned, self.committer.soon)
        hooks = Hooks(self._give_back, self.committer.soon, self.wake)
        self._placing = Placing(client, role, hooks, self.lose)
        self._closings: set[Task[None]] = set()
        self._names = self._placing.names
        self._committing: Task[None] | None = None
        self._watch = Watch(role.session_timeout, time.monotonic())

    def join(self) -> None:
        """Subscribe and begin to commit."""
        pattern = f"^(?:{'|'.join(map(re.escape, self._names))})$"
        # By pattern, aiokafka asks for the metadata of all topics; by name, it would make brokers create them.
        self.client.subscribe(pattern=pattern, listener=_Listener(self))
        self._committing = asyncio.create_task(
            self.committer.commit_every(self._role.subscription.commit_interval)
        )
        self._committing.add_done_callback(self._commits_ended)

    async def fetch(self, limit: int) -> Sequence[KafkaDelivery]:
        """Up to `limit` deliveries, released ones first; none after a second, or when something changed."""
        if not self._giving_up and (ready := self._ready(limit)):
            return ready
        polled = await self._poll(limit)
        if not polled:
            self._look_around()
        deliveries = self._accept(polled, limit)
        if deliveries:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = time.monotonic()
        if self._suspects.exclusive:
            self._released += deliveries
            return ()
        return deliveries

    def _ready(self, limit: int) -> Sequence[KafkaDelivery]:
        """What need not be polled; beside a strict suspect nothing is handed out."""
        if not self._suspects.exclusive:
            return self._given_back(limit) if self._released else ()
        in_hand = sum(each.unsettled for each in self.assigned.values()) - len(self._released)
        suspect = self._suspects.next(in_hand)
        return () if suspect is None else (suspect,)

    def lag(self) -> int | None:
        """How many offsets of its partitions are not settled; None while the broker did not tell all ends."""
        found = 0
        for partition, assigned in self.assigned.items():
            reading = self.client.reading(partition)
            if reading is None or reading.end is None:
                return None
            found += max(0, reading.end - assigned.position)
        return found if self.placed.is_set() else None

    def places(self, which: Callable[[AssignedPartition], bool]) -> tuple[TopicPartition, ...]:
        """The partitions that are as `which` says."""
        return tuple(
            TopicPartition(each.topic, each.number) for each in self.assigned.values() if which(each)
        )

    def look(self) -> None:
        """Find out whether it stopped silently; then it is lost."""
        sight = Sight(
            self.client.ended(),
            self.client.answered,
            self.client.heartbeat,
            self.client.heartbeating(),
            self.placed.is_set(),
            self._idle_since,
            {partition: self.client.reading(partition) for partition in self.assigned},
        )
        if why := self._watch.look(time.monotonic(), sight):
            self.lose(why)

    def lose(self, why: str, error: BaseException | None = None) -> None:
        """End this life; for good when `error` is one that a person has to mend. The first call counts."""
        if self.lost.done():
            return
        if isinstance(error, REFUSED):
            self.failure = BrokerError(f"group `{self._group}` {why}: {describe(error)}")
            self.failure.__cause__ = error
        self.lost.set_result(f"{why}: {describe(error)}" if error else why)
        self._on_lost()
        self.wake()

    async def close(self) -> None:
        """Commit, leave the group, disconnect; within about 5 seconds also when the broker is gone."""
        self._over = True  # what is placed from now on would look as if it was being handled
        with suppress(TimeoutError):
            async with asyncio.timeout(_PLACING_ENDS_WITHIN), self._turn:
                pass
        await self._leave()
        await self.committer.commit_if_possible(_COMMIT_WITHIN)
        await self.end()

    async def end(self) -> None:
        """Disconnect; nothing is committed any more."""
        if self._committing is not None:
            self._committing.remove_done_callback(self._commits_ended)
            self._committing.cancel()
        self._abandon()
        await self.client.end()
        if self._closings:
            await asyncio.wait(self._closings, timeout=_COMMIT_WITHIN)
        if self._polling is not None:
            self._polling.cancel()  # one that began in a rebalance waits for an assignment that never comes now
            await asyncio.gather(self._polling, return_exceptions=True)

    # Polling

    async def _poll(self, limit: int) -> _Polled:
        if self._polling is None:
            self._polling = asyncio.create_task(
                self.client.getmany(timeout_ms=_POLL_MS, max_records=limit), name="eventwire-kafka-poll"
            )
        polling = self._polling
        await asyncio.wait(
            (polling, self._woken), timeout=_POLL_MS / 1000, return_when=asyncio.FIRST_COMPLETED
        )
        if self._woken.done():
            self._woken = asyncio.get_running_loop().create_future()
        if not polling.done() or polling is not self._polling:
            return {}
        self._polling = None
        return self._polled(polling)

    def _polled(self, polling: Task[dict[KafkaPartition, list[ConsumerRecord]]]) -> _Polled:
        if polling.cancelled() or self.lost.done():
            return {}
        match polling.exception():
            case None:
                return polling.result()
            case NoOffsetForPartitionError():  # positions are being looked up in _place
                return {}
            case OffsetOutOfRangeError() as error:
                raise self._out_of_range(error) from error
            case ConsumerStoppedError():
                return {}
            case error:
                # aiokafka drops what it had polled from other partitions: reading on would skip that.
                self.lose("cannot read on", error)
                return {}

    def _drop_polled(self) -> None:
        """What was polled before positions changed and is not handed out yet: it is read again from the new ones."""
        if self._polling is not None and self._polling.done():
            if not self._polling.cancelled():
                self._polling.exception()
            self._polling = None

    def _accept(self, polled: _Polled, limit: int) -> Sequence[KafkaDelivery]:
        """Records of a partition that has no position yet are dropped: placing it seeks back to them."""
        deliveries: list[KafkaDelivery] = []
        for partition, records in polled.items():
            if assigned := self.assigned.get(partition):
                deliveries += assigned.take(records, limit - len(deliveries))
        return deliveries

    def _given_back(self, limit: int) -> Sequence[KafkaDelivery]:
        live = sorted(
            (delivery for delivery in self._released if delivery.live),
            key=lambda delivery: (delivery.message.topic, delivery.partition, delivery.offset),
        )
        self._released = live[limit:]
        return live[:limit]

    def _give_back(self, delivery: KafkaDelivery) -> None:
        self._released.append(delivery)
        self.wake()

    def wake(self) -> None:
        """Let a waiting `fetch` return."""
        if not self._woken.done():
            self._woken.set_result(None)

    # Failing

    def _look_around(self) -> None:
        """After a poll that brought nothing: a topic may be gone, or a transaction's end be all that is left."""
        if self._polling is None:
            for partition, assigned in self.assigned.items():
                if reading := self.client.reading(partition):
                    assigned.skip_to(reading.position)
        absent = [name for known, name in self._names.items() if not self.client.partitions_for_topic(known)]
        now = time.monotonic()
        if not absent:
            self._absent_since = None
        elif self._absent_since is None:
            self._absent_since = now
        elif now - self._absent_since > _DELETED_AFTER:
            raise topic_missing(*absent)

    def _out_of_range(self, error: OffsetOutOfRangeError) -> OffsetOutOfRange:
        ((partition, offset),) = error.args[0].items()
        name = self._names.get(partition.topic, partition.topic)
        return OffsetOutOfRange(
            f"group `{self._group}` is at offset {offset} of `{name}` partition {partition.partition}, "
            "which the log no longer has (or, after a loss at the broker, not yet): what lies between is lost to it. "
            "Reset the group's offsets to go on"
        )

    def _commits_ended(self, committing: Task[None]) -> None:
        if not committing.cancelled() and (error := committing.exception()):
            if isinstance(error, CommitRefused):
                self.failure = error
            self.lose(describe(error))

    # Rebalances, called by aiokafka's coordination task, which only logs what they raise

    async def revoke(self) -> None:
        """Give all partitions up: let the subscriber finish, commit that it ended cleanly, forget."""
        async with self._turn:
            self._giving_up = True
            self._drop_polled()
            if self.assigned:
                await self._finish_handling()
                await self._leave()
                await self.committer.commit_if_possible(_COMMIT_WITHIN)
            self._abandon()
            self._giving_up = False

    async def _finish_handling(self) -> None:
        given_up = [TopicPartition(assigned.topic, assigned.number) for assigned in self.assigned.values()]
        finishing = asyncio.ensure_future(self._role.subscription.on_revoke(given_up))
        try:
            await asyncio.wait([finishing], timeout=self._role.drain)
        except asyncio.CancelledError:
            finishing.cancel()
            raise
        if not finishing.done():
            log.warning(
                "handlers of %s did not end within %g s: their events are read again",
                given_up, self._role.drain,
            )  # fmt: skip
            finishing.cancel()
            await asyncio.wait([finishing], timeout=1)
        elif not finishing.cancelled() and (error := finishing.exception()):
            self.failure = BrokerError(f"giving partitions up failed: {describe(error)}")
            self.failure.__cause__ = error
            self.lose(str(self.failure))

    async def _leave(self) -> None:
        for assigned in self.assigned.values():
            assigned.leaving = True
        if concluding := [asyncio.create_task(each.conclude()) for each in self._transactional()]:
            await asyncio.wait(concluding, timeout=_COMMIT_WITHIN)

    def _transactional(self) -> Sequence[TransactionalPartition]:
        return [each for each in self.assigned.values() if isinstance(each, TransactionalPartition)]

    def _abandon(self) -> None:
        self.committer.forget()
        self._end_transactions(self.assigned.values())
        for assigned in self.assigned.values():
            assigned.live = False
        self.assigned.clear()
        self._released.clear()
        self.placed.clear()

    def _end_transactions(self, partitions: Iterable[AssignedPartition]) -> None:
        for partition in partitions:
            if isinstance(partition, TransactionalPartition):
                closing = partition.end()
                self._closings.add(closing)
                closing.add_done_callback(self._closings.discard)

    async def place(self, partitions: Collection[KafkaPartition]) -> None:
        """Begin where the group stands, or where its subscription starts if it stands nowhere.

        That something may be handed out is at the broker before anything is.
        """
        async with self._turn:
            if not self._over and not self.lost.done():
                await self._place(partitions)

    async def _place(self, partitions: Collection[KafkaPartition]) -> None:
        self.client.pause(*partitions)  # what were fetched now would be sought back, at half a second's cost
        placed: Mapping[KafkaPartition, AssignedPartition] = {}
        try:
            async with asyncio.timeout(_PLACED_WITHIN):
                placed = await self._placing.places(list(partitions))
                begun = not self._over and await self._begin(placed)
        except (KafkaError, BrokerError, TimeoutError) as error:
            cause = error.__cause__ if isinstance(error, BrokerError) and error.__cause__ else error
            self.lose("cannot learn where it stands", cause)
            begun = False
        if not begun or self.lost.done():
            self._end_transactions(placed.values())
            return
        for partition, assigned in placed.items():
            self.client.seek(partition, assigned.position)
        self.client.resume(*partitions)
        self._drop_polled()
        self.assigned.update(placed)
        self.placed.set()

    async def _begin(self, placed: Mapping[KafkaPartition, AssignedPartition]) -> bool:
        due = {partition: commit for partition, assigned in placed.items() if (commit := assigned.due())}
        if due and not await self.committer.write(due):
            if self.committer.trouble:
                raise BrokerError(self.committer.trouble)
            return False  # a rebalance has begun, and places anew
        for partition, commit in due.items():
            placed[partition].written(commit)
        return True


class _Listener(ConsumerRebalanceListener):
    """aiokafka's view of the member."""

    def __init__(self, member: Member) -> None:
        self._member = member

    async def on_partitions_revoked(self, revoked: Iterable[KafkaPartition]) -> None:  # noqa: ARG002 - it is all of them
        await self._member.revoke()

    async def on_partitions_assigned(self, assigned: Collection[KafkaPartition]) -> None:
        await self._member.place(assigned)
