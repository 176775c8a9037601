"""`make check`: every static check, two at a time, and at the end what failed.

python -m tools.check [NAME ...]   all steps, or those whose name starts with one of the words
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent
MODULE = (sys.executable, "-m")


@dataclass(frozen=True)
class Step:
    """A command that answers with its exit code."""

    name: str
    command: Sequence[str]


@dataclass(frozen=True)
class Result:
    """What a step said, and how long it took in seconds."""

    step: Step
    code: int
    output: str
    seconds: float


# The longest ones first: two run at a time.
STEPS = (
    Step("mypy", (*MODULE, "mypy")),
    Step("pyright", (*MODULE, "pyright", "--warnings")),
    Step("docs", (*MODULE, "tools.docs")),
    Step("README table current", (*MODULE, "tools.features", "--check")),
    Step("generated code current", (*MODULE, "tools.generated")),
    Step(
        "import direction", (*MODULE, "pytest", "-q", "-p", "no:cacheprovider", "tests/test_architecture.py")
    ),
    Step("ruff check", (*MODULE, "ruff", "check")),
    Step("ruff format", (*MODULE, "ruff", "format", "--check")),
    Step("buf lint", (str(BIN / "buf"), "lint")),
    Step("buf format", (str(BIN / "buf"), "format", "--diff", "--exit-code")),
)


def main(names: Sequence[str]) -> int:
    """1 when a step fails, after all of them ran."""
    steps = [step for step in STEPS if not names or step.name.startswith(tuple(names))]
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        results = list(pool.map(run, steps))
    failed = [result for result in results if result.code]
    for result in failed:
        print(f"\n--- {result.step.name}: {' '.join(result.step.command)}\n{result.output.rstrip()}")
    if failed:
        print(f"\ncheck: FAILED: {', '.join(result.step.name for result in failed)}")
        return 1
    print(f"check: all {len(results)} steps passed")
    return 0


def run(step: Step) -> Result:
    """Runs it to its end and says so in one line."""
    started = time.monotonic()
    done = subprocess.run(
        step.command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - started
    print(f"{'ok    ' if done.returncode == 0 else 'FAILED'} {step.name} ({seconds:.1f} s)", flush=True)
    return Result(step, done.returncode, done.stdout, seconds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
