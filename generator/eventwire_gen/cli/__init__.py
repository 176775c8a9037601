"""The generator's commands, found by the entry point group ``eventwire.commands``."""
