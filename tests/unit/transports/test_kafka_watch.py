from dataclasses import replace

from aiokafka import TopicPartition

from eventwire.transports.kafka.client import Reading
from eventwire.transports.kafka.watch import Sight, Watch

_ZERO = TopicPartition("t", 0)
_CAUGHT_UP = Reading(position=5, end=5, answered=1, paused=False)
_WELL = Sight(
    ended=None,
    answered=0.0,
    heartbeat=0.0,
    heartbeating=True,
    placed=True,
    idle_since=0.0,
    readings={_ZERO: _CAUGHT_UP},
)


def looked(*sights: tuple[float, Sight]) -> list[str | None]:
    watch = Watch(30, 0.0)
    return [watch.look(now, sight) for now, sight in sights]


def well(now: float, **changes: object) -> tuple[float, Sight]:
    """All is well at `now`, but for some changes."""
    reading = _CAUGHT_UP._replace(answered=int(now))
    sight = replace(_WELL, answered=now, heartbeat=now, readings={_ZERO: reading})
    return now, replace(sight, **changes)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  the test's own names


def test_a_quiet_partition_that_is_answered_is_well() -> None:
    assert looked(*(well(float(now)) for now in range(0, 300, 5))) == [None] * 60


def test_a_task_that_ended_is_told_at_once() -> None:
    assert looked(well(1.0, ended="aiokafka's fetching ended")) == ["aiokafka's fetching ended"]


def test_a_partition_that_is_not_answered_any_more_is_stuck() -> None:
    *before, last = looked(*(well(float(now), readings={_ZERO: _CAUGHT_UP}) for now in range(0, 18, 4)))
    assert before == [None] * 4
    assert last is not None
    assert "nothing was read from t partition 0 for 16 s" in last


def test_a_partition_that_is_answered_and_brings_nothing_of_what_there_is_is_stuck() -> None:
    sights = [well(float(now), readings={_ZERO: Reading(5, 9, now, paused=False)}) for now in range(0, 18, 4)]
    assert looked(*sights)[-1] is not None


def test_what_moves_is_paused_or_is_not_asked_for_is_not_stuck() -> None:
    moving = [
        well(float(now), readings={_ZERO: Reading(now, 99, 1, paused=False)}) for now in range(0, 60, 4)
    ]
    paused = [well(float(now), readings={_ZERO: Reading(5, 9, 1, paused=True)}) for now in range(0, 60, 4)]
    unasked = [
        well(float(now), readings={_ZERO: Reading(5, 9, 1, paused=False)}, idle_since=None)
        for now in range(0, 60, 4)
    ]
    unplaced = [well(float(now), readings={_ZERO: None}) for now in range(0, 60, 4)]
    for sights in (moving, paused, unasked, unplaced):
        assert looked(*sights) == [None] * 15


def test_waiting_for_a_broker_that_is_away_is_no_standstill() -> None:
    away = [(float(now), _WELL) for now in range(0, 300, 5)]
    assert looked(*away) == [None] * 60
    back = looked(*away, *(well(float(now)) for now in range(300, 340, 4)))
    assert back == [None] * 70, "the silence before does not count"


def test_heartbeats_that_are_not_answered_while_others_are() -> None:
    told = looked(*(well(float(now), heartbeat=2.0) for now in range(40)))
    assert told[:31] == [None] * 31
    assert told[31] == "no heartbeat was answered for 31 s, though Kafka answers"
    resumed = looked(well(0.0), (31.0, replace(_WELL, answered=31.0)), well(31.5), well(32.0))
    assert resumed == [None] * 4, "when a broker goes on, some request is answered before the heartbeat"
    assert (
        looked(*(well(float(now), heartbeat=None, heartbeating=False) for now in range(0, 100, 5)))
        == [None] * 20
    )


def test_a_member_that_never_gets_into_its_group() -> None:
    sights = [well(float(now), placed=False, heartbeating=False) for now in range(1, 130, 4)]
    told = looked(*sights)
    assert told[-1] is not None
    assert "did not get into its group" in told[-1]
    assert set(told[:30]) == {None}
