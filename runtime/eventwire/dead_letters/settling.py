"""Settling dead letters: what is meant is done, what is not stays, whatever the broker's way to settle is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from eventwire.dead_letters.letter import Letter
from eventwire.dead_letters.progress import Progress
from eventwire.dead_letters.selection import Selection
from eventwire.errors import InvalidEvent, PublishError, PublishUnknown, TooLarge
from eventwire.message import Message
from eventwire.transport import Delivery, TopicSpec, Transport

BATCH = 100
"""Letters that are worked on, or kept in hand, at once."""
_TIMEOUT = 30.0
"""Seconds for the confirmation of a batch."""

Work: TypeAlias = Callable[[Sequence[Letter]], Awaitable[Sequence["str | None"]]]
"""Does what is asked with letters; for each None, or why it is refused. Raises PublishError when none can be done."""


async def purge(letters: Sequence[Letter]) -> Sequence[str | None]:
    """Nothing is to be done with what is purged."""
    return [None] * len(letters)


class Replay:
    """Publishes letters again to `target`."""

    def __init__(self, transport: Transport, target: TopicSpec, *, to_source: bool) -> None:
        self._transport = transport
        self._target = target
        self._to_source = to_source

    async def __call__(self, letters: Sequence[Letter]) -> Sequence[str | None]:
        """See Work: confirmed when it returns."""
        whole = [letter for letter in letters if not letter.pointer]
        messages = [letter.replayed(self._target.name, to_source=self._to_source) for letter in whole]
        why = dict(zip(map(id, whole), await publish(self._transport, self._target, messages), strict=True))
        return [
            why[id(letter)]
            if not letter.pointer
            else f"its body was too large to be set aside: it is at {letter.origin}"
            for letter in letters
        ]


async def publish(
    transport: Transport, topic: TopicSpec, messages: Sequence[Message]
) -> Sequence[str | None]:
    """Publish a batch; for each None when it is confirmed, or why the broker will never take it.

    Raises PublishError when it is not confirmed for another reason.
    """
    if not messages:
        return []
    try:
        async with asyncio.timeout(_TIMEOUT):
            outcomes = await transport.publish_many(topic, messages)
    except TimeoutError as error:
        raise PublishUnknown(f"topic {topic.name}: not confirmed within {_TIMEOUT:g} s") from error
    refused: list[str | None] = []
    for outcome in outcomes:
        if isinstance(outcome, PublishError) and not isinstance(outcome, TooLarge | InvalidEvent):
            raise outcome
        refused.append(str(outcome) if isinstance(outcome, PublishError) else None)
    return refused


class Settling:
    """The letters of one way through them. What is kept is in hand until it is known whether it has to move.

    Nothing is acked before what becomes of it is confirmed, and in a log nothing behind a letter that is in hand.
    """

    def __init__(self, transport: Transport, place: TopicSpec, work: Work, progress: Progress) -> None:
        self._transport = transport
        self._place = place
        self._work = work
        self._progress = progress
        self._kept: list[Delivery] = []
        self._moving = False

    def ended(self, selection: Selection) -> bool:
        """Whether the limit is reached, and none that stays has to be moved behind those that were."""
        return self._progress.matched == selection.limit and not self._moving

    async def settle(self, pairs: Sequence[tuple[Delivery, Letter]], selection: Selection) -> int:
        """Work on some letters; return how many were done."""
        meant = self._meant([letter for _, letter in pairs], selection)
        outcomes = dict(zip(meant, await self._work([pairs[index][1] for index in meant]), strict=True))
        done: list[Delivery] = []
        for index, (delivery, letter) in enumerate(pairs):
            if (why := outcomes.get(index, "")) is None:
                self._moving |= bool(self._kept) and delivery.offset is not None
                done.append(delivery)
            else:
                self._kept.append(delivery)
                if why:
                    self._progress.refuse(letter.id, why)
        if self._moving or len(self._kept) > BATCH:
            await self._move()
        for delivery in done:
            delivery.ack()
        self._progress.done += len(done)
        return len(done)

    async def make_room(self) -> bool:
        """Move what is in hand, for nothing more came; whether that can help: not where the topic is a log."""
        if not self._kept or self._kept[0].offset is not None:
            return False
        await self._move()
        return True

    async def end(self) -> None:
        """Give back what is still in hand."""
        for delivery in self._kept:
            delivery.release()
        self._kept.clear()

    def _meant(self, letters: Sequence[Letter], selection: Selection) -> list[int]:
        progress = self._progress
        meant: list[int] = []
        for index, letter in enumerate(letters):
            progress.seen += 1
            if progress.matched != selection.limit and selection.matches(letter):
                progress.matched += 1
                meant.append(index)
        return meant

    async def _move(self) -> None:
        self._moving = True
        messages = [replace(delivery.message, topic=self._place.name) for delivery in self._kept]
        for message, why in zip(messages, await publish(self._transport, self._place, messages), strict=True):
            if why is not None:  # it was taken once, as it is
                raise PublishUnknown(f"{self._place.name}: letter {message.id} cannot stay: {why}", message)
        for delivery in self._kept:
            delivery.ack()
        self._progress.moved += len(self._kept)
        self._kept.clear()
