"""The transactional outbox: events are recorded in the caller's database transaction, and a relay publishes them.

Needs the extra `outbox` (SQLAlchemy) and a database driver. PostgreSQL and SQLite.
"""

from __future__ import annotations

from eventwire.outbox.lag import Failing, Lag
from eventwire.outbox.outbox import AnySession, Outbox
from eventwire.outbox.relay import Relay, RelayHealth
from eventwire.outbox.tables import SLOTS, Tables

__all__ = ["SLOTS", "AnySession", "Failing", "Lag", "Outbox", "Relay", "RelayHealth", "Tables"]
