"""What every check of one run needs."""

from __future__ import annotations

from dataclasses import dataclass, field

from eventwire_gen.comments import Comments
from eventwire_gen.faults import Faults
from eventwire_gen.schema import Schema
from eventwire_gen.settings import Settings


@dataclass(frozen=True, slots=True)
class Run:
    """One call of the generator: the files, the settings, and the faults found so far."""

    schema: Schema
    settings: Settings
    faults: Faults = field(default_factory=Faults)
    comments: Comments = field(default_factory=Comments)
