"""The outbox on SQLite, in a file."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.unit.outbox.cases import OutboxCases
from tests.unit.outbox.stage import Stage
from tests.unit.outbox.stage import stage as opened


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncGenerator[Stage]:
    path = tmp_path / "app.db"
    async with opened(f"sqlite:///{path}", f"sqlite+aiosqlite:///{path}") as found:
        yield found


class TestOnSqlite(OutboxCases):
    """All that must hold everywhere."""
