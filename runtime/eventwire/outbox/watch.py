"""Who else relays: told by watching their heartbeats, and how many slots each should have."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from eventwire.outbox.tables import SLOTS


class Watch:
    """Tells which relays are dead: those whose beat stood still for `lease` seconds of this process's monotonic clock.

    No wall clock takes part, so no clock that jumps can end a lease, and a relay that starts needs `lease` seconds
    before it takes anything from a dead one.
    """

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self._seen: dict[str, tuple[int, float]] = {}

    def see(self, beats: Mapping[str, int], at: float) -> dict[str, int]:
        """Take note of all relays' beats, read at `at`; those of the dead, with the beat they stopped at."""
        self._seen = {
            relay: known if (known := self._seen.get(relay)) and known[0] == beat else (beat, at)
            for relay, beat in beats.items()
        }
        return {relay: beat for relay, (beat, since) in self._seen.items() if at - since >= self._lease}


def share(me: str, relays: Collection[str]) -> int:
    """How many slots a relay should have; all relays' shares together are all slots."""
    each, over = divmod(SLOTS, len(relays))
    return each + (sorted(relays).index(me) < over)
