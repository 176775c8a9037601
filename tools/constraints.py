"""Writes constraints.txt: the version of everything that the environment holds, direct and transitive.

python -m tools.constraints   (in an environment that tests pass in, for example after a deliberate upgrade)
"""

import sys
from importlib.metadata import distributions
from pathlib import Path

TARGET = Path("constraints.txt")
HEADER = """\
# Everything that development and tests install, direct and transitive, at the versions that were tested.
# Users are not bound by it: pyproject.toml says what works. Written by `python -m tools.constraints`.
"""
OURS = {"eventwire", "pip"}


def main() -> None:
    """Replaces the file."""
    pins = {found.name.lower().replace("_", "-"): found.version for found in distributions()}
    lines = [f"{name}=={version}\n" for name, version in sorted(pins.items()) if name not in OURS]
    TARGET.write_text(HEADER + "".join(lines))
    sys.stderr.write(f"{TARGET}: {len(lines)} packages\n")


if __name__ == "__main__":
    main()
