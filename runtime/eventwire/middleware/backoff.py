"""How long to wait before the next attempt."""

from __future__ import annotations

from eventwire.policy import RetryPolicy


def grown(initial: float, multiplier: float, most: float, attempt: int) -> float:
    """`initial`, multiplied once for each attempt after the first, at most `most`; all in seconds."""
    try:
        wait = initial * multiplier ** min(attempt - 1, 1000)
    except OverflowError:
        return most
    return min(wait, most)


def backoff(policy: RetryPolicy, attempt: int, chance: float) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1); `chance` is random from 0 to 1."""
    wait = grown(policy.initial_backoff, policy.backoff_multiplier, policy.max_backoff, attempt)
    return wait * (1 - policy.jitter * chance)
