"""The plugins and the order of every test run."""

import pytest

pytest_plugins = ["tools.matrix"]

# What is quick, and what most likely tells why something else fails, comes first.
ORDER = (
    "unit",
    "test_architecture.py",
    "golden",
    "corpus",
    "typing",
    "docs",
    "packaging",
    "tools",
    "conformance",
    "e2e",
    "chaos",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keeps the order within a folder."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    folder = item.nodeid.removeprefix("tests/").partition("/")[0].partition("::")[0]
    return ORDER.index(folder) if folder in ORDER else len(ORDER)
