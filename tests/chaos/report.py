"""The figures of a bar: what `make chaos` writes into docs/reliability.md."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.chaos.oracle import Verdict
from tests.chaos.switches import RESULTS, seed


@dataclass
class Figures:
    """One row: `bar` is its number, `faults` what really happened, in words with a number."""

    test: str
    bar: int
    fault: str
    broker: str
    events: int = 0
    faults: str = ""
    lost: int = 0
    duplicates: int = 0
    bound: int | None = None
    notes: list[str] = field(default_factory=list[str])
    seconds: float = 0.0
    passed: bool = False
    seed: int = field(default_factory=seed)

    def judged(self, verdict: Verdict, bound: int | None = None) -> None:
        """Take over what the oracle found, and require it."""
        self.events = self.events or verdict.published
        self.lost, self.duplicates, self.bound = len(verdict.lost), verdict.duplicates, bound
        verdict.require(verdict.duplicates if bound is None else bound)

    def note(self, text: str) -> None:
        """Add a figure of the bar's own, for example `RSS 61 MiB of 80`."""
        self.notes.append(text)


class Recording:
    """Times a bar and appends its figures, as one line of JSON, to the file that EVENTWIRE_CHAOS_RESULTS names."""

    def __init__(self, figures: Figures) -> None:
        self.figures = figures
        self._began = time.monotonic()

    def end(self, *, passed: bool) -> None:
        """Write them down."""
        self.figures.passed = passed
        self.figures.seconds = round(time.monotonic() - self._began, 1)
        if path := os.environ.get(RESULTS):
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(self.figures)) + "\n")
