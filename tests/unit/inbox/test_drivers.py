"""Without its extra an inbox says which one brings it."""

from __future__ import annotations

import sys
from importlib import import_module

import pytest

from eventwire import MissingDriver


@pytest.mark.parametrize(
    ("module", "driver", "extra"),
    [("sql", "sqlalchemy", "eventwire[inbox]"), ("redis", "redis.asyncio", "eventwire[redis-inbox]")],
)
def test_a_missing_driver_is_named(
    module: str, driver: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, driver, None)
    monkeypatch.delitem(sys.modules, f"eventwire.inbox.{module}", raising=False)
    with pytest.raises(MissingDriver) as caught:
        import_module(f"eventwire.inbox.{module}")
    assert extra in str(caught.value)
