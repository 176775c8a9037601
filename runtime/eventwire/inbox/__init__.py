"""The inbox: an event is handled once, though it is delivered more often.

`eventwire.inbox.sql` commits the event's key and the handler's effects in one transaction; `eventwire.inbox.redis`
leases the key and marks it done. Others are classes with the methods of `Inbox`.
"""

from eventwire.inbox.base import Handle, Inbox
from eventwire.inbox.key import InboxKey

__all__ = ["Handle", "Inbox", "InboxKey"]
