from __future__ import annotations

import pytest

from eventwire.counts import Counts
from eventwire.health import STALLED, Situation, Standstill, WorkerHealth
from eventwire.health import judged as judged_over_time
from eventwire.transport import ConsumerHealth, TopicPartition

WELL = ConsumerHealth(connected=True, heartbeat=0.1, lag=0)


def situation(
    *consumers: ConsumerHealth,
    started: bool = True,
    stopping: bool = False,
    ended: BaseException | None = None,
    progress: float | None = 0.0,
    in_flight: int = 0,
    waiting: int = 0,
    paused: str | None = None,
    stuck: tuple[str, ...] = (),
) -> Situation:
    return Situation(
        "g",
        started,
        stopping,
        ended,
        progress,
        in_flight,
        waiting,
        paused,
        stuck,
        consumers or (WELL,),
        Counts(),
    )


def judged(now: Situation, *, after: float = 0.0) -> WorkerHealth:
    """The verdict on what was so already `after` seconds before."""
    times = [0.0]
    standstill = Standstill(lambda: times[0])
    judged_over_time(now, standstill)
    times[0] = after
    return judged_over_time(now, standstill)


def test_all_well() -> None:
    found = judged(situation(WELL, ConsumerHealth(connected=True, heartbeat=3.0, lag=4)))
    assert (found.alive, found.ready, found.reasons) == (True, True, ())
    assert (found.connected, found.heartbeat, found.lag) == (True, 3.0, 4)


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (situation(started=False), "it has not started to read"),
        (situation(stopping=True), "it is stopping"),
        (situation(paused="ConnectionError: db"), "paused: ConnectionError: db"),
        (situation(stuck=("x.dead cannot be written: down",)), "x.dead cannot be written: down"),
        (situation(ConsumerHealth(connected=False, heartbeat=9.0, lag=None)), "no connection to the broker"),
        (situation(ConsumerHealth(connected=True, heartbeat=9.0, lag=1, trouble="rebuilding")), "rebuilding"),
    ],
)
def test_what_makes_it_unready_is_told_and_is_no_reason_to_restart(now: Situation, reason: str) -> None:
    found = judged(now)
    assert (found.alive, found.ready, found.reasons) == (True, False, (reason,))


def test_an_error_that_ended_it_is_a_reason_to_restart() -> None:
    found = judged(situation(ended=ValueError("no")))
    assert (found.alive, found.reasons) == (False, ("it ended: ValueError: no",))


BEHIND = ConsumerHealth(connected=True, heartbeat=0.1, lag=5)


@pytest.mark.parametrize(
    ("now", "alive"),
    [
        (situation(BEHIND, progress=STALLED), False),
        (situation(BEHIND, progress=STALLED / 2), True),
        (situation(BEHIND, progress=None), False),  # it never got any
        (situation(WELL, progress=STALLED * 9), True),  # nothing to do
        (situation(BEHIND, progress=STALLED, in_flight=1), True),  # a long handler
        (situation(BEHIND, progress=STALLED, waiting=1), True),  # a retry's wait
        (situation(BEHIND, progress=STALLED, paused="db"), True),
        (situation(ConsumerHealth(connected=False, heartbeat=99, lag=5), progress=STALLED), True),
        (
            situation(
                ConsumerHealth(connected=True, heartbeat=1, lag=5, paused=(TopicPartition("t", 0),)),
                progress=STALLED,
            ),
            True,
        ),
    ],
)
def test_it_stalls_only_where_nothing_explains_that_it_does_not_progress(
    now: Situation,
    alive: bool,
) -> None:
    assert judged(now, after=STALLED).alive is alive


def test_an_event_that_came_just_now_after_a_quiet_hour_is_no_stall() -> None:
    assert judged(situation(BEHIND, progress=3600.0), after=STALLED / 2).alive


def test_a_standstill_that_ended_in_between_begins_anew() -> None:
    times = [0.0]
    standstill = Standstill(lambda: times[0])
    for times[0], now in ((0.0, BEHIND), (50.0, WELL), (70.0, BEHIND), (90.0, BEHIND)):
        assert judged_over_time(situation(now, progress=None), standstill).alive
    times[0] = 130.0
    assert not judged_over_time(situation(BEHIND, progress=None), standstill).alive


def test_a_lag_that_one_consumer_does_not_know_is_not_known() -> None:
    assert judged(situation(WELL, ConsumerHealth(connected=True, heartbeat=1, lag=None))).lag is None
