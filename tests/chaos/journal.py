"""The two logs of a fault run: what publishers tried, and what handlers did.

Every line is one O_APPEND write, made before the thing it tells of can be acknowledged, so a process that is killed
leaves whole lines only, and nothing that was settled is missing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import NamedTuple, Self


class Step(NamedTuple):
    """An event's identity: its number among those of its key, from 0. Keys have no blanks."""

    key: str
    number: int

    def __str__(self) -> str:
        return f"{self.key}/{self.number}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote."""
        key, _, number = text.rpartition("/")
        return cls(key, int(number))


class Outcome(Enum):
    """How a publish ended. TRIED alone means that its process ended first: nobody knows."""

    TRIED = "tried"
    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Publication(NamedTuple):
    """One line of a publisher."""

    step: Step
    outcome: Outcome


class Kind(Enum):
    """What a line of a worker tells."""

    JOINED = "joined"
    STARTED = "started"
    HANDLED = "handled"


class Handling(NamedTuple):
    """One line of a worker. `owner` is one process, `assignment` counts its holds of the partition.

    `time` is in seconds of the machine's monotonic clock.
    """

    kind: Kind
    owner: str
    assignment: int
    step: Step
    partition: int
    offset: int
    attempt: int
    deaths: int
    time: float


NOWHERE = Step("-", -1)


class Appender:
    """Appends lines to a file that other processes append to."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def publication(self, outcome: Outcome, steps: Iterable[Step]) -> None:
        """Note an outcome of some steps."""
        if text := "".join(f"{step} {outcome.value}\n" for step in steps):
            os.write(self._file, text.encode())

    def handling(self, line: Handling) -> None:
        """Note what a worker does; its time is set here."""
        kind, owner, assignment, step, *numbers, _ = line
        text = " ".join(map(str, (kind.value, owner, assignment, step, *numbers, time.monotonic())))
        os.write(self._file, f"{text}\n".encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class Lines:
    """The whole lines of a file that grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0

    def new(self) -> list[str]:
        """What was appended since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                whole, newline, _ = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return []
        self._at += len(whole) + len(newline)
        return whole.decode().split("\n") if whole else []


class Journal:
    """The workers' log, read as it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.joined: set[str] = set()
        """The owners that began to read."""
        self.started: list[Handling] = []
        self.handled: list[Handling] = []
        self.steps: set[Step] = set()
        """Everything that was handled."""
        self.owners: dict[str, int] = {}
        """How many handlings each owner finished."""
        self._lines = Lines(path)

    def read(self) -> Self:
        """Take in what is new."""
        for text in self._lines.new():
            self._take(parse(text))
        return self

    def _take(self, line: Handling) -> None:
        match line.kind:
            case Kind.JOINED:
                self.joined.add(line.owner)
            case Kind.STARTED:
                self.started.append(line)
            case Kind.HANDLED:
                self.handled.append(line)
                self.steps.add(line.step)
                self.owners[line.owner] = self.owners.get(line.owner, 0) + 1


def parse(text: str) -> Handling:
    """Read a line of a worker."""
    kind, owner, assignment, step, partition, offset, attempt, deaths, at = text.split(" ")
    numbers = (int(partition), int(offset), int(attempt), int(deaths))
    return Handling(Kind(kind), owner, int(assignment), Step.parse(step), *numbers, float(at))


def publications(path: Path) -> list[Publication]:
    """Everything that publishers noted."""
    found = (text.split(" ") for text in Lines(path).new())
    return [Publication(Step.parse(step), Outcome(outcome)) for step, outcome in found]
