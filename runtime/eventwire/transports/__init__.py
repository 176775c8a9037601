"""The brokers: one module or package each, found by a URL's scheme."""
