"""The dead letters of one group and topic."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from eventwire.bus import Bus
from eventwire.dead_letters.letter import Letter
from eventwire.dead_letters.pace import Pace
from eventwire.dead_letters.progress import Progress
from eventwire.dead_letters.reading import Reading
from eventwire.dead_letters.selection import Selection
from eventwire.dead_letters.settling import BATCH, Replay, Settling, Work, purge
from eventwire.errors import ConfigurationError
from eventwire.group import Policies, own_topics
from eventwire.message import Message
from eventwire.policy import DeadLetterPolicy
from eventwire.route import spec_of
from eventwire.topic import Topic
from eventwire.transport import TopicSpec, Transport

_ALL = Selection()


class DeadLetters:
    """What group `group` could not handle of a topic, and set aside.

    Made of a started bus and a topic, or of a connected transport and a TopicSpec where there is no code of the
    topic's; `policy` is the worker's `dead_letter` if it overrides the topic's. Raises ConfigurationError where the
    dead letter is disabled.

    One way through the letters at a time: several at once, in one process or many, lose nothing, but wait for each
    other or replay a letter twice. All methods raise TopicMissing, BrokerError and PublishError, and look no further
    than to the end that was there when they began.
    """

    def __init__(
        self,
        bus: Bus | Transport,
        topic: Topic[Any] | TopicSpec,
        group: str,
        *,
        policy: DeadLetterPolicy | None = None,
    ) -> None:
        if isinstance(bus, Bus) != isinstance(topic, Topic):
            raise ConfigurationError(
                "dead letters are those of a bus and a Topic, or of a transport and a TopicSpec"
            )
        known = topic if isinstance(topic, Topic) else _stand_in(topic)
        own = own_topics(known, Policies(group, dead_letter=policy))
        if own.dead_letter is None or own.replay is None:
            raise ConfigurationError(f"topic {known.name}: its dead letter is disabled for group {group}")
        self.group = group
        self.reader = f"{group}.dead"  # not the workers' group: it would hand out their partitions anew
        self.topic = known.name
        self.place = own.dead_letter
        self.retries = own.replay
        self._source = spec_of(topic) if isinstance(topic, Topic) else topic
        self._transport = bus.transport(known) if isinstance(bus, Bus) else bus

    async def count(self) -> int:
        """How many there are."""
        await self._transport.check([self.place], [])
        return await self._transport.lag(self.place, self.reader)

    async def browse(
        self, selection: Selection = _ALL, *, progress: Progress | None = None
    ) -> AsyncGenerator[Letter]:
        """Look at letters, oldest first. None is settled; close the generator (`aclosing`) if you leave early.

        RabbitMQ shows no more than a reader may hold (`prefetch` of the URL, 200): see `progress.seen` and `.total`.
        """
        state = progress or Progress()
        async with self._reading() as reading:
            state.total = reading.total
            while batch := await reading.take(BATCH):
                for delivery in batch:
                    letter = self._letter(delivery.message)
                    state.seen += 1
                    if selection.matches(letter):
                        state.matched += 1
                        yield letter
                    if state.matched == selection.limit:
                        return

    async def keys(self) -> set[bytes]:
        """The keys of all letters that have one: the keys whose next events may not be handled before these."""
        async with aclosing(self.browse()) as letters:
            return {letter.message.key async for letter in letters if letter.message.key is not None}

    async def replay(
        self,
        selection: Selection = _ALL,
        *,
        to_source: bool = False,
        rate: float | None = None,
        progress: Progress | None = None,
    ) -> Progress:
        """Publish letters again to the group's own retry topic, where only its workers get them, and settle them.

        `to_source` publishes to the topic itself instead: every group gets them again. `rate` is per second. An event
        keeps its body, key, id and own headers, and gets `eventwire_replayed`. Each is confirmed before its letter is
        settled: after a failure or a cancellation nothing is lost, and some may be replayed again by the next call.
        Letters that are pointers are refused. See `purge` for what happens to letters that do not match.
        """
        target = self._source if to_source else self.retries
        await self._transport.check([target], [self.group] if to_source else [])
        work = Replay(self._transport, target, to_source=to_source)
        return await self._settle(selection, work, rate, progress)

    async def purge(self, selection: Selection = _ALL, *, progress: Progress | None = None) -> Progress:
        """Settle letters, which forgets them.

        Where a topic is a log, what is settled behind an unsettled letter would come again. So letters that do not
        match are published again at the tail, as they are and confirmed, as soon as one behind them is settled, or
        more than 100 of them are in hand; from then on all of them, so that their order stays.
        """
        return await self._settle(selection, purge, None, progress)

    async def _settle(
        self, selection: Selection, work: Work, rate: float | None, progress: Progress | None
    ) -> Progress:
        state = progress or Progress()
        settling = Settling(self._transport, self.place, work, state)
        pace = Pace(rate, BATCH)
        async with self._reading() as reading:
            state.total = reading.total
            while reading.left and not settling.ended(selection):
                batch = await reading.take(pace.burst)
                if not batch and not await settling.make_room():
                    break
                pairs = [(each, self._letter(each.message)) for each in batch]
                done = await settling.settle(pairs, selection)
                reading.settled += done
                await pace.wait(done)
            await settling.end()
        return state

    def _reading(self) -> Reading:
        return Reading(self._transport, self.place, self.reader)

    def _letter(self, message: Message) -> Letter:
        return Letter(message, self._transport.features.attribute_prefixes)


def _stand_in(spec: TopicSpec) -> Topic[Any]:
    return Topic(spec.name, spec.name, "", ())
