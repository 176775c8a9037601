"""The broker of an end-to-end test, by its name in the test's parameter `url`."""

import os
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a broker: a real server is the one of the whole run."""
    match request.param:
        case "memory":
            return "memory://"
        case "sqlite":
            return f"sqlite:///{tmp_path / 'e2e.db'}"
        case server:
            return str(request.getfixturevalue(f"{server}_server").url)


@pytest.fixture(autouse=True)
def of_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that a test starts import this checkout and the shop's generated modules."""
    paths = (CHECKOUT, CHECKOUT / "examples/shop/gen")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, paths)))
    monkeypatch.chdir(CHECKOUT)
