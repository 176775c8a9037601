"""Running the machine's own tools (package clients, java) with errors a person can read."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .errors import Unavailable


def run(command: Sequence[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Standard output of the command; Unavailable with its last line when it is missing or fails."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=os.environ | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise Unavailable(f"{command[0]} is not installed") from None
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()
        raise Unavailable(f"`{' '.join(command[:3])} ...` exited with {done.returncode}: {lines[-1]}")
    return done.stdout
