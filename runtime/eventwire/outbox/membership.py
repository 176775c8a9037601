"""A relay's place among the relays: its heartbeat, the slots it holds, and for how long it may rely on them."""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections.abc import Collection, Mapping

from eventwire.outbox.store import Store
from eventwire.outbox.watch import Watch, share

_log = logging.getLogger("eventwire.outbox")
_SAFE = 0.75
"""The part of a lease that its owner relies on; the others wait for all of it."""


class Membership:
    """One relay among others. `lease`: seconds without a heartbeat after which the others take its slots."""

    def __init__(self, store: Store, lease: float) -> None:
        self._store = store
        self._lease = lease
        self.watch = Watch(lease)
        self._alive: Collection[str] = ()
        self._dead: Mapping[str, int] = {}
        self._beaten = float("-inf")
        self._balanced = False
        self.me = ""
        self.term = 0
        """Grows when the others held this relay for dead, and everything it held is lost."""
        self.slots: dict[int, int] = {}
        """The slots it holds, with their epochs."""

    @property
    def relays(self) -> int:
        """How many relays live, this one included."""
        return len(self._alive)

    def holds(self, term: int) -> bool:
        """Whether what was held in that term is still this relay's for certain."""
        return term == self.term and time.monotonic() < self._beaten + self._lease * _SAFE

    async def join(self) -> None:
        """Become one of the relays, without slots yet."""
        me, before = _name(), time.monotonic()
        self._take_note(me, await self._store.register(me), before)

    async def beat(self) -> None:
        """Show that this relay lives, and look who else does."""
        before = time.monotonic()
        beats = await self._store.beat(self.me)
        if self.me in beats:
            self._take_note(self.me, beats, before)
            return
        _log.warning(
            "relay %s: no heartbeat for longer than its lease of %g s: its slots are others' now, it starts anew",
            self.me, self._lease,
        )  # fmt: skip
        self.term += 1
        self.slots = {}
        await self.join()

    def _take_note(self, me: str, beats: Mapping[str, int], before: float) -> None:
        self.me, self._beaten, self._balanced = me, before, False
        seen = self.watch.see(beats, time.monotonic())
        self._dead = {relay: beat for relay, beat in seen.items() if relay != me}
        self._alive = beats.keys() - self._dead.keys()

    async def balance(self) -> None:
        """Bury the dead and hold a fair share of the slots. Not while rows of held slots are being published."""
        if self._balanced:
            return
        me, term = self.me, self.term
        for relay, beat in self._dead.items():
            _log.warning("relay %s is dead: its slots are free", relay)
            await self._store.bury(relay, beat)
        fair = share(me, self._alive)
        for surplus in sorted(self.slots)[fair:]:
            del self.slots[surplus]
        await self._store.keep(me, self.slots)
        if len(self.slots) < fair:
            claimed = await self._store.claim(me, fair - len(self.slots))
            if term == self.term:
                self.slots.update(claimed)
        self._balanced = True

    def lose(self, slots: Collection[int]) -> None:
        """Take note that slots are another relay's."""
        for slot in slots:
            self.slots.pop(slot, None)

    async def leave(self) -> None:
        """Give everything up."""
        self.term += 1
        self.slots = {}
        await self._store.leave(self.me)


def _name() -> str:
    return f"{socket.gethostname()[:20]}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
