"""A fault run's stage: the broker, the topic, the group, how workers behave. Children read it from a file."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from eventwire.bus import Bus
from eventwire.context import Context
from eventwire.group import Policies, dead_letter_spec
from eventwire.policy import RetryPolicy
from eventwire.route import spec_of
from eventwire.topic import Topic
from eventwire.transport import TopicSpec
from shop.orders.v1.orders_eventwire import ORDERS
from shop.orders.v1.orders_pb2 import OrderPlaced
from tests.chaos.journal import Step

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Behaviour: TypeAlias = "Callable[[Scene, OrderPlaced, Context], Awaitable[None]]"


@dataclass(frozen=True)
class Scene:
    """Everything that test, publishers and workers must agree on.

    `behaviour` is `module:function` of what a handler does before the line that says it was handled. `worker` are
    arguments of Worker, `options` figures for the behaviour, `bus` arguments of Bus. `starts`: also note every
    attempt when it begins. `vitals`: workers note their own RSS, files and tasks. `program`: the module that a
    worker process runs.
    """

    url: str
    folder: str
    topic_name: str = field(default_factory=lambda: f"chaos.{secrets.token_hex(4)}")
    group: str = field(default_factory=lambda: f"g-{secrets.token_hex(4)}")
    partitions: int = 4
    retry: Mapping[str, float] = field(default_factory=dict[str, float])
    behaviour: str = "tests.chaos.behaviours:quick"
    options: Mapping[str, float] = field(default_factory=dict[str, float])
    worker: Mapping[str, Any] = field(default_factory=dict[str, Any])
    bus: Mapping[str, Any] = field(default_factory=dict[str, Any])
    starts: bool = False
    vitals: bool = False
    program: str = "tests.chaos.worker"

    def vitals_of(self, owner: str) -> Path:
        """Where a worker notes its vital signs."""
        return Path(self.folder, f"{owner}.vitals")

    @property
    def handled(self) -> Path:
        """The workers' log."""
        return Path(self.folder, "handled.log")

    @property
    def published(self) -> Path:
        """The publishers' log."""
        return Path(self.folder, "published.log")

    @cached_property
    def topic(self) -> Topic[Any]:
        """The shop's orders under a name of this run."""
        policy = replace(RetryPolicy(max_attempts=3, initial_backoff=0.05, max_backoff=0.2), **self.retry)  # type: ignore[arg-type]  # figures from JSON
        return replace(ORDERS, name=self.topic_name, partitions=self.partitions, retry=policy)

    @property
    def spec(self) -> TopicSpec:
        """The topic as a transport knows it."""
        return spec_of(self.topic)

    @property
    def dead(self) -> TopicSpec:
        """The group's dead letter."""
        found = dead_letter_spec(self.topic, Policies(self.group))
        assert found is not None
        return found

    def open(self) -> Bus:
        """A bus on the broker, not started."""
        return Bus(self.url, declare=True, **self.bus)

    async def behave(self, event: OrderPlaced, context: Context) -> None:
        """What a handler does."""
        await self._behaviour(self, event, context)

    @cached_property
    def _behaviour(self) -> Behaviour:
        module, _, name = self.behaviour.partition(":")
        found: Behaviour = getattr(import_module(module), name)
        return found

    def save(self, name: str = "scene.json") -> Path:
        """Write it down for children."""
        path = Path(self.folder, name)
        path.write_text(json.dumps(asdict(self)))
        return path

    @classmethod
    def load(cls, path: str) -> Scene:
        """Read what `save` wrote."""
        return cls(**json.loads(Path(path).read_text()))


def order(step: Step, *, kind: str = "", padding: int = 0) -> OrderPlaced:
    """The event of a step; `kind` tells the behaviour what to do with it."""
    made = OrderPlaced(order_id=step.key, total_cents=step.number, email="x" * padding)
    if kind:
        made.voucher = kind
    return made


def step_of(event: OrderPlaced) -> Step:
    """The step of an event."""
    return Step(event.order_id, event.total_cents)


def steps(count: int, keys: int = 40) -> list[Step]:
    """So many steps over so many keys in turn."""
    return [Step(f"k{n % keys}", n // keys) for n in range(count)]
