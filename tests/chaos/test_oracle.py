"""The oracle finds what it is there to find."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.chaos.journal import Appender, Handling, Journal, Kind, Outcome, Publication, Step, publications
from tests.chaos.oracle import Violation, judge, outcomes

A = [Step("a", number) for number in range(4)]


def ok(*steps: Step) -> list[Publication]:
    return [Publication(step, Outcome.OK) for step in steps]


def by(owner: str, *steps: Step, assignment: int = 0) -> list[Handling]:
    return [Handling(Kind.HANDLED, owner, assignment, step, 0, step.number, 1, 0, 0.0) for step in steps]


def red(told: Sequence[Publication], handled: Sequence[Handling], duplicates: int = 0) -> str:
    with pytest.raises(Violation) as violation:
        judge(told, handled).require(duplicates)
    return str(violation.value)


def test_a_run_without_faults_passes() -> None:
    verdict = judge(ok(*A), by("w1", *A))
    verdict.require(duplicates=0)
    assert (verdict.published, verdict.handled, verdict.duplicates) == (4, 4, 0)


def test_a_confirmed_event_that_nobody_handled_is_lost() -> None:
    assert red(ok(*A), by("w1", *A[:3])) == "lost: 1 of 4, first a/3"


def test_a_confirmed_event_in_the_dead_letter_is_not_lost() -> None:
    judge(ok(*A), by("w1", *A[:3]), dead=A[3:], poison=A[3:]).require(0)


def test_a_healthy_event_in_the_dead_letter_is_a_stray() -> None:
    with pytest.raises(Violation, match="in the dead letter without reason: 1 of 4, first a/3"):
        judge(ok(*A), by("w1", *A), dead=A[3:]).require(0)


def test_what_is_known_not_to_be_written_must_not_appear() -> None:
    told = [*ok(*A[:3]), Publication(A[3], Outcome.FAILED)]
    judge(told, by("w1", *A[:3])).require(0)
    assert "ghosts" in red(told, by("w1", *A))


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.TRIED])
def test_what_nobody_knows_may_appear_or_not(outcome: Outcome) -> None:
    told = [*ok(*A[:3]), Publication(A[3], outcome)]
    judge(told, by("w1", *A)).require(0)
    judge(told, by("w1", *A[:3])).require(0)


def test_what_nobody_published_must_not_appear() -> None:
    assert "foreign (nobody published them): 1 of 3, first a/3" in red(ok(*A[:3]), by("w1", *A))


def test_duplicates_are_held_against_their_bound() -> None:
    handled = [*by("w1", *A), *by("w2", *A[2:])]
    judge(ok(*A), handled).require(2)
    assert red(ok(*A), handled, 1) == "duplicates: 2, above the bound of 1"


def test_an_owner_that_goes_back_within_one_hold_is_out_of_order() -> None:
    back = by("w1", A[0], A[1], A[0], A[1], A[2], A[3])
    assert "out of order: 1 of 4, first a/0 after 1 in w1, hold 0" in red(ok(*A), back, 2)


def test_reading_again_after_a_new_assignment_is_in_order() -> None:
    again = [*by("w1", A[0], A[1]), *by("w1", *A, assignment=1)]
    judge(ok(*A), again).require(2)


def test_what_a_publisher_tried_again_may_come_again() -> None:
    tried = [Publication(step, Outcome.TRIED) for step in (*A, A[1])]
    judge([*tried, *ok(*A)], by("w1", A[0], A[1], A[2], A[1], A[3])).require(1)
    assert "out of order" in red([*tried, *ok(*A)], by("w1", A[0], A[2], A[0], A[1], A[3]), 1)


def test_an_attempt_again_is_in_order() -> None:
    judge(ok(*A), by("w1", A[0], A[0], A[1], A[2], A[3])).require(1)


def test_a_first_handling_after_a_later_event_is_out_of_order_between_owners_too() -> None:
    skipped = [*by("w1", A[0], A[2], A[3]), *by("w2", A[1])]
    assert "a/1 for the first time after 3 in w2" in red(ok(*A), skipped)


def test_first_handlings_are_not_compared_where_a_publish_was_not_confirmed() -> None:
    told = [*ok(A[0], A[2], A[3]), Publication(A[1], Outcome.UNKNOWN), *ok(A[1])]
    judge(told[:-1], [*by("w1", A[0], A[2], A[3]), *by("w2", A[1])]).require(0)


@pytest.mark.parametrize(
    ("seen", "outcome"),
    [
        ([Outcome.TRIED, Outcome.OK], Outcome.OK),
        ([Outcome.TRIED, Outcome.FAILED], Outcome.FAILED),
        ([Outcome.TRIED, Outcome.UNKNOWN, Outcome.TRIED, Outcome.FAILED], Outcome.UNKNOWN),
        ([Outcome.TRIED, Outcome.FAILED, Outcome.TRIED], Outcome.UNKNOWN),
        ([Outcome.TRIED, Outcome.FAILED, Outcome.TRIED, Outcome.OK], Outcome.OK),
    ],
)
def test_several_attempts_at_one_event_have_one_outcome(seen: list[Outcome], outcome: Outcome) -> None:
    assert outcomes(Publication(A[0], each) for each in seen) == {A[0]: outcome}


def test_logs_are_read_as_they_were_written(tmp_path: Path) -> None:
    told, did = tmp_path / "published.log", tmp_path / "handled.log"
    publisher, worker = Appender(told), Appender(did)
    publisher.publication(Outcome.TRIED, A[:2])
    publisher.publication(Outcome.OK, A[:1])
    assert outcomes(publications(told)) == {A[0]: Outcome.OK, A[1]: Outcome.UNKNOWN}
    journal = Journal(did)
    assert journal.read().steps == set()
    [line] = by("w1", Step("k/1", 7))
    worker.handling(line)
    with did.open("ab") as file:
        file.write(b"handled w1 0 half/")
    assert [each._replace(time=0.0) for each in journal.read().handled] == [line]
    assert (journal.steps, journal.owners) == ({Step("k/1", 7)}, {"w1": 1})
