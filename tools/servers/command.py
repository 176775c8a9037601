"""Running the machine's own tools (package clients, java) with errors a person can read."""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .errors import Unavailable


def run(command: Sequence[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Standard output of the command; Unavailable with its reason when it is missing or fails."""
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
        reason = _reason(f"{done.stdout}\n{done.stderr}")
        raise Unavailable(f"`{' '.join(command[:3])} ...` exited with {done.returncode}: {reason}")
    return done.stdout


def _reason(output: str) -> str:
    """The first line that pip, mvn (ERROR) or apt-get (E:) mark as an error, else the last one."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    lines = [line.strip() for line in plain.splitlines() if line.strip()] or ["no output"]
    return next((line for line in lines if "ERROR" in line or line.startswith("E: ")), lines[-1])
