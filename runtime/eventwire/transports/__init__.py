"""The brokers: one module or package each, found by a URL's scheme."""

DECLARE_IT = "declare it: `Bus(url, declare=True)` or `await bus.declare(TOPIC)`"
"""What every TopicMissing says to do."""
