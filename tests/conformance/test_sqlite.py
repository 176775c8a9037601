from pathlib import Path

import pytest

from eventwire.testing.conformance import Harness
from eventwire.testing.conformance.suite import Suite
from eventwire.transports.sqlite import SqliteTransport


class TestSqlite(Suite):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> Harness:
        # all scenarios at once are some 150 writers of one file: on a busy machine one may wait for long
        url = f"sqlite:///{tmp_path / 'events.db'}?busy_timeout=30"
        return Harness(url, SqliteTransport, scale=0.2, deadline=60)
