"""The plugins of every test run."""

pytest_plugins = ["tools.matrix"]
