"""Eventwire: events from .proto files, over the broker you have."""
