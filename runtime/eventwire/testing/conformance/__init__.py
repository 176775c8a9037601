"""One suite that every transport passes against its real server.

A scenario is a plain coroutine that plays one promise of `eventwire.transport` on a `Stage`; `scenarios()` lists
them all. An adapter's test subclasses `eventwire.testing.conformance.suite.Suite` (which needs pytest):

    class TestMine(Suite):
        @pytest.fixture
        def harness(self) -> Harness:
            return Harness("mine://localhost", MyTransport)

What is skipped is decided by the transport's `Features` alone, and each skip says by which.
"""

from __future__ import annotations

from eventwire.testing.conformance import (
    acks,
    delivery,
    end_to_end,
    facts,
    faults,
    fidelity,
    groups,
    lifecycle,
    order,
    retries,
    topics,
)
from eventwire.testing.conformance.failure import Broken, Missing
from eventwire.testing.conformance.harness import Harness, Stage
from eventwire.testing.conformance.scenario import Scenario

__all__ = ["Broken", "Harness", "Missing", "Scenario", "Stage", "scenarios"]


def scenarios() -> tuple[Scenario, ...]:
    """Every scenario; those that restart the server come last."""
    themes = (delivery, acks, order, groups, topics, fidelity, lifecycle, facts, end_to_end, retries, faults)
    return tuple(scenario for theme in themes for scenario in theme.SCENARIOS)
