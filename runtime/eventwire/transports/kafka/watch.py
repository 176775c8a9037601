"""Finding a member that stopped silently: aiokafka's tasks may end, or wait for ever, without an error (#1154)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aiokafka import TopicPartition as KafkaPartition

from eventwire.transports.kafka.client import Reading

_STUCK_AFTER = 15.0
"""Seconds without progress; a broker answers a fetch twice a second, also when there is nothing to bring."""
_JOINED_WITHIN = 120.0
"""Seconds; a join takes as long as the slowest member, which is the rebalance timeout at most."""
_LOOK_COUNTS = 2.0
"""Seconds that the time between two looks counts at most: a suspended broker may have gone on at the end of it."""
_REACHABLE_WITHIN = 5.0
"""A broker that answered anything so many seconds ago is there: then waiting is not waiting for it."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What can be seen of a member now. Times are by the monotonic clock, in seconds."""

    ended: str | None
    """Which of aiokafka's tasks ended, if one did."""
    answered: float | None
    """When a broker last answered."""
    heartbeat: float | None
    """When a heartbeat was last answered."""
    heartbeating: bool
    """Whether heartbeats are due: not within a rebalance."""
    placed: bool
    """Whether it is in its group and knows where its partitions stand."""
    idle_since: float | None
    """Since when polls bring nothing; None while nobody polls or they bring something."""
    readings: Mapping[KafkaPartition, Reading | None] = field(
        default_factory=dict[KafkaPartition, Reading | None]
    )
    """Of each partition that has a place."""


class Watch:
    """Looks at one member again and again, and tells when it has to be made anew."""

    def __init__(self, session_timeout: float, now: float) -> None:
        self._session_timeout = session_timeout
        self._seen: dict[KafkaPartition, tuple[float, Reading | None]] = {}
        self._placed_at = now
        self._looked = now
        self._answered: float | None = None
        self._heartbeat: float | None = None
        self._unanswered = 0.0
        """Seconds since the last answered heartbeat in which other requests were answered."""

    def look(self, now: float, sight: Sight) -> str | None:
        """Why the member does not work any more; None while it does, or while no broker can be reached."""
        if sight.ended:
            return sight.ended
        if sight.placed or sight.answered is None or sight.answered <= self._placed_at:
            self._placed_at = now
        elif now - self._placed_at > _JOINED_WITHIN:
            return f"it did not get into its group within {_JOINED_WITHIN:g} s, though Kafka answers"
        expired, stuck = self._expired(now, sight), self._stuck(now, sight)
        if sight.answered is None or now - sight.answered > _REACHABLE_WITHIN:
            self._seen.clear()
            return None
        return expired or stuck

    def _expired(self, now: float, sight: Sight) -> str | None:
        if sight.heartbeat != self._heartbeat or not sight.heartbeating:
            self._unanswered = 0.0
        elif sight.answered != self._answered:
            self._unanswered += min(now - self._looked, _LOOK_COUNTS)
        self._looked, self._answered, self._heartbeat = now, sight.answered, sight.heartbeat
        if self._unanswered <= self._session_timeout:
            return None
        return f"no heartbeat was answered for {self._unanswered:.0f} s, though Kafka answers"

    def _stuck(self, now: float, sight: Sight) -> str | None:
        """A partition that is to bring something, or to be told that there is nothing, and does not."""
        self._seen = {
            partition: self._since(now, partition, reading) for partition, reading in sight.readings.items()
        }
        if sight.idle_since is None or now - sight.idle_since <= _STUCK_AFTER:
            return None
        for partition, (since, reading) in self._seen.items():
            if reading is not None and not reading.paused and now - since > _STUCK_AFTER:
                return (
                    f"nothing was read from {partition.topic} partition {partition.partition} for "
                    f"{now - since:.0f} s, though Kafka answers"
                )
        return None

    def _since(
        self, now: float, partition: KafkaPartition, reading: Reading | None
    ) -> tuple[float, Reading | None]:
        """Since when the reading is as it is. One that has nothing to bring makes progress by every answer."""
        since, before = self._seen.get(partition, (now, None))
        if before is None or reading is None or reading.paused or before.paused:
            return now, reading
        behind = reading.end is None or reading.position < reading.end
        same = reading.position == before.position and (behind or reading.answered == before.answered)
        return (since if same else now), reading
