"""The oracle: what must be true of the two logs, whatever happened between. As in Jepsen, outcomes have three kinds.

What was confirmed was handled at least once or stands in the dead letter; what is known not to be written never shows
up; what nobody knows may. Handlings beyond the first are duplicates, held against the bar's own bound. Within one hold
of a partition a key's numbers never go back, and the first handlings of a key are in its order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from tests.chaos.journal import Handling, Outcome, Publication, Step


class Violation(AssertionError):
    """A promise was broken."""


@dataclass(frozen=True)
class Verdict:
    """What the logs show. `published` counts confirmed events, `handled` distinct ones."""

    published: int
    handled: int
    duplicates: int
    lost: Sequence[Step] = ()
    ghosts: Sequence[Step] = ()
    """Handled, though they were known not to be written."""
    foreign: Sequence[Step] = ()
    """Handled, though nobody published them."""
    disorder: Sequence[str] = ()
    strays: Sequence[Step] = ()
    """In the dead letter, and should not be."""

    def broken(self, duplicates: int) -> list[str]:
        """Each promise that does not hold, in words, with examples."""
        found = {
            "lost": self.lost,
            "ghosts (known as not written, and handled)": self.ghosts,
            "foreign (nobody published them)": self.foreign,
            "out of order": self.disorder,
            "in the dead letter without reason": self.strays,
        }
        texts = [
            f"{name}: {len(what)} of {self.published}, first {', '.join(map(str, what[:5]))}"
            for name, what in found.items()
            if what
        ]
        if self.duplicates > duplicates:
            texts.append(f"duplicates: {self.duplicates}, above the bound of {duplicates}")
        return texts

    def require(self, duplicates: int) -> None:
        """Raise Violation, naming everything that does not hold; `duplicates` is their bound."""
        if texts := self.broken(duplicates):
            raise Violation("; ".join(texts))


def outcomes(publications: Iterable[Publication]) -> dict[Step, Outcome]:
    """One outcome for each step that was tried, however often: OK if it ever was, FAILED if it always was."""
    tried: defaultdict[Step, list[Outcome]] = defaultdict(list)
    for step, outcome in publications:
        tried[step].append(outcome)
    return {step: _outcome(seen) for step, seen in tried.items()}


def _outcome(seen: Sequence[Outcome]) -> Outcome:
    if Outcome.OK in seen:
        return Outcome.OK
    ended = len(seen) - seen.count(Outcome.TRIED)
    unfinished = seen.count(Outcome.TRIED) > ended
    return Outcome.UNKNOWN if unfinished or Outcome.UNKNOWN in seen else Outcome.FAILED


def judge(
    publications: Iterable[Publication],
    handled: Sequence[Handling],
    *,
    dead: Collection[Step] = (),
    poison: Collection[Step] = (),
) -> Verdict:
    """Hold the logs against each other. `dead` is what the dead letter has, `poison` what it may have."""
    tried = list(publications)
    told = outcomes(tried)
    attempts = Counter(step for step, outcome in tried if outcome is Outcome.TRIED)
    again = {step for step, count in attempts.items() if count > 1}
    confirmed = [step for step, outcome in told.items() if outcome is Outcome.OK]
    seen = {line.step for line in handled}
    settled = seen | set(dead)
    return Verdict(
        published=len(confirmed),
        handled=len(seen),
        duplicates=len(handled) - len(seen),
        lost=[step for step in confirmed if step not in settled],
        ghosts=sorted(step for step in settled if told.get(step) is Outcome.FAILED),
        foreign=sorted(settled - told.keys()),
        disorder=[*_backwards(handled, again), *_late(handled, told)],
        strays=sorted(set(dead) - set(poison)),
    )


def _backwards(handled: Iterable[Handling], again: Collection[Step]) -> Iterable[str]:
    """Where a process went back within one hold of a partition, but for what was published again."""
    latest: dict[tuple[str, int, int, str], int] = {}
    for line in handled:
        at = (line.owner, line.partition, line.assignment, line.step.key)
        if line.step in again:
            continue
        before = latest.get(at, -1)
        if line.step.number < before:
            yield f"{line.step} after {before} in {line.owner}, hold {line.assignment}"
        latest[at] = line.step.number


def _late(handled: Iterable[Handling], told: dict[Step, Outcome]) -> Iterable[str]:
    """Where an event was first handled after a later one of its key, of keys whose every event was confirmed."""
    unsure = {step.key for step, outcome in told.items() if outcome is not Outcome.OK}
    latest: dict[str, int] = {}
    seen: set[Step] = set()
    for line in handled:
        if line.step in seen:
            continue
        seen.add(line.step)
        key, number = line.step
        if number < latest.get(key, -1) and key not in unsure:
            yield f"{line.step} for the first time after {latest[key]} in {line.owner}"
        latest[key] = max(number, latest.get(key, -1))
