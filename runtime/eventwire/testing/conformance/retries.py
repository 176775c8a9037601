"""The group's own topics: delayed retries come back to it, and replays reach nobody else."""

from __future__ import annotations

from dataclasses import replace

from eventwire.context import Context
from eventwire.message import Message
from eventwire.policy import Ordering, RetryMode, RetryPolicy
from eventwire.testing.conformance.failure import equal, expect
from eventwire.testing.conformance.harness import Stage
from eventwire.testing.conformance.play import NEEDS, Play, bus_of
from eventwire.testing.conformance.scenario import Scenario
from eventwire.testing.conformance.steps import Step
from eventwire.transport import TopicSpec

_DELAYED = RetryPolicy(
    mode=RetryMode.DELAYED, max_attempts=3, initial_backoff=0.3, backoff_multiplier=2, jitter=0
)


async def a_delayed_retry_lets_the_next_go_first(stage: Stage) -> None:
    """A failed event waits aside, with its attempts counted; in the end it is in the dead letter, whole."""
    async with bus_of(stage) as bus:
        play = Play(stage, bus, ordering=Ordering.NONE, retry=_DELAYED)
        calls: list[tuple[int, int]] = []
        original: list[Message] = []

        async def fail_first(step: Step, context: Context) -> None:
            calls.append((step.number, context.attempt))
            if step.number == 0:
                original.append(context.message)
                raise RuntimeError("the warehouse is closed")
            play.diary.note(step)

        async with play.worker(fail_first, concurrency=1):
            await play.publish(Step("key", 0))
            await play.publish(Step("key", 1))
            await play.seen(1)
            (dead,) = await play.dead_letters(1)
        equal(sorted(calls), [(0, 1), (0, 2), (0, 3), (1, 1)], "the events' numbers and attempts")
        expect(calls.index((1, 1)) < calls.index((0, 2)), f"the next event waited for a retry: {calls}")
        equal((dead.message.body, dead.message.key), (original[0].body, original[0].key), "the dead letter")
        equal(dead.message.header("eventwire_dead_attempts"), b"3", "the dead letter's attempts")


async def a_replay_reaches_its_group_alone(stage: Stage) -> None:
    """What is published to a group's retry topic is handled by that group, and by no other of the topic."""
    async with bus_of(stage) as bus:
        ours, theirs = Play(stage, bus), Play(stage, bus)
        theirs.topic = ours.topic
        async with ours.worker(), theirs.worker():
            await ours.publish(Step("key", 0))
            await ours.seen(1)
            await theirs.seen(1)
            replay = TopicSpec(f"{ours.topic.name}.{ours.group}.retry", queue=True)
            route = await bus.route(ours.topic)
            message = replace(route.write(Step("key", 1), None, None, None), topic=replay.name)
            await stage.transport.publish(replay, message)
            await ours.seen(2)
            await ours.publish(Step("key", 2))
            await theirs.seen(2)
        equal(
            [step.number for step in dict.fromkeys(theirs.diary.seen)], [0, 2], "what the other group handled"
        )


SCENARIOS = (
    Scenario(a_delayed_retry_lets_the_next_go_first, needs=NEEDS),
    Scenario(a_replay_reaches_its_group_alone, needs=NEEDS),
)
