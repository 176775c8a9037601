"""What all processes of the outbox's fault run share: the database's own table, the topic, the points to die at."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import Column, Integer, MetaData, String, Table

from eventwire.bus import Bus
from eventwire.outbox import Tables

DIED = 99
"""The exit code of a process that ended itself at its point."""
WRITER_POINTS = ("before commit", "after commit")
RELAY_POINTS = ("after publish", "before mark", "after mark")
NOWHERE = "-"

business = MetaData()
placed = Table(
    "placed",
    business,
    Column("id", String(64), primary_key=True),
    Column("key", String(64), nullable=False),
    Column("number", Integer, nullable=False),
)
"""The application's own table: what was committed there is what must be published."""
tables = Tables()


@dataclass(frozen=True)
class Stage:
    """Children read it from a file. `per_writer`: events that each writer has to commit."""

    database: str
    folder: str
    per_writer: int
    batch: int
    lease: float

    @property
    def file(self) -> Path:
        """Where it is written down."""
        return Path(self.folder, "stage.json")

    def save(self) -> None:
        """Write it down for children."""
        self.file.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: str) -> Stage:
        """Read what `save` wrote."""
        return cls(**json.loads(Path(path).read_text()))

    def open(self) -> Bus:
        """A bus on the broker, not started."""
        return Bus(f"sqlite:///{self.folder}/broker.db", declare=True)
