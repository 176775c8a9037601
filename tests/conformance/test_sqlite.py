from pathlib import Path

import pytest

from eventwire.testing.conformance import Harness
from eventwire.testing.conformance.suite import Suite
from eventwire.transports.sqlite import SqliteTransport


class TestSqlite(Suite):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> Harness:
        return Harness(f"sqlite:///{tmp_path / 'events.db'}", SqliteTransport, scale=0.2, deadline=60)
