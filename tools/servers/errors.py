"""What can go wrong when a real server is wanted."""


class Unavailable(Exception):
    """The server cannot be had on this machine; `str()` is one line that says what to install."""


class StartFailed(Exception):
    """The server was started and did not become ready; the message ends with the tail of its log."""


class NotOurs(Exception):
    """The server was given by URL or runs in Docker: it is not ours to kill, suspend or restart."""
