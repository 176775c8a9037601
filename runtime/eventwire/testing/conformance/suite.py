"""The suite as a pytest class."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from eventwire.testing.conformance import Harness, Scenario, scenarios

_ALONE = [scenario for scenario in scenarios() if not scenario.restarts]
_RESTARTS = [scenario for scenario in scenarios() if scenario.restarts]
_STRESS_SHARE = 0.2
"""How much of a scenario's volume is used when all play at once."""


class Suite:
    """Subclass it and give it a fixture `harness` that returns a `Harness`."""

    @pytest.mark.parametrize("scenario", _ALONE, ids=str)
    def test_scenario(self, scenario: Scenario, harness: Harness) -> None:
        """One promise of the contract, alone on the broker."""
        _play(scenario, harness)

    def test_all_at_once(self, harness: Harness) -> None:
        """Every scenario at the same time on one broker, several times where the scale allows it."""
        asyncio.run(_play_together(harness))

    @pytest.mark.parametrize("scenario", _RESTARTS, ids=str)
    def test_restart(self, scenario: Scenario, harness: Harness) -> None:
        """Last, since the server is restarted under it."""
        _play(scenario, harness)


def _play(scenario: Scenario, harness: Harness) -> None:
    if reason := scenario.skipped(harness):
        pytest.skip(reason)
    asyncio.run(scenario.run_alone(harness))


async def _play_together(harness: Harness) -> None:
    small = replace(harness, scale=harness.scale * _STRESS_SHARE, deadline=harness.deadline * 4)
    applying = [scenario for scenario in _ALONE if not scenario.skipped(small)]
    playing = applying * max(1, round(harness.scale * 3))
    outcomes = await asyncio.gather(*(scenario.run(small) for scenario in playing), return_exceptions=True)
    failures: list[BaseException] = []
    for scenario, outcome in zip(playing, outcomes, strict=True):
        if isinstance(outcome, BaseException):
            outcome.add_note(f"in scenario {scenario}")
            failures.append(outcome)
    if failures:
        raise BaseExceptionGroup(f"{len(failures)} of {len(playing)} scenarios at once", failures)
