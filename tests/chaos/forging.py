"""A publisher whose events have ids of their own, are remembered as they were written, and may be spoilt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from eventwire.bus import Bus
from eventwire.errors import PublishError
from eventwire.message import Message
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.chaos.journal import Appender, Outcome, Step
from tests.chaos.scene import Scene

_BATCH = 500


class Forger:
    """Publishes in batches, in order. `written` is what each step became on the wire."""

    def __init__(
        self,
        scene: Scene,
        bus: Bus,
        event: Callable[[Step], OrderPlaced],
        spoil: Callable[[Step, Message], Message],
    ) -> None:
        self._scene = scene
        self._bus = bus
        self._event = event
        self._spoil = spoil
        self._log = Appender(scene.published)
        self.written: dict[Step, Message] = {}

    async def publish(self, steps: Sequence[Step]) -> None:
        """Publish them, all of which must be confirmed."""
        for start in range(0, len(steps), _BATCH):
            await self._batch(steps[start : start + _BATCH])

    async def _batch(self, steps: Sequence[Step]) -> None:
        route = await self._bus.route(self._scene.topic)
        self._log.publication(Outcome.TRIED, steps)
        for step in steps:
            message = route.write(self._event(step), {"batch": "x"}, str(step), None)
            self.written[step] = self._spoil(step, message)
        outcomes = await route.publish_many([self.written[step] for step in steps])
        assert not [each for each in outcomes if isinstance(each, PublishError)]
        self._log.publication(Outcome.OK, steps)


def undecodable(message: Message) -> Message:
    """The message with a body that no event can be read from: a field that ends before it begins."""
    return replace(message, body=b"\x0a\xff" + (message.body or b""))
