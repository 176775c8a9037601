"""`make test-all`: the tests under every Python that is here, and with the lowest and highest dependencies.

python -m tools.test_all [NAME ...]   3.11 ... 3.14, lowest, highest; all of them if none is named

The main environment runs everything, as `make test` does. The other Pythons leave out documentation and the
typing samples; lowest and highest also the wheel and the sdist, which install what they please. Real servers
get there, of the conformance suite, the test that plays all of its scenarios at once.
"""

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build/test-all"
MINORS = range(11, 15)
# What users install. Development tools stay at the versions of constraints.txt in the lowest run.
PRODUCT_EXTRAS = ("gen", "kafka", "amqp", "betterproto", "betterproto2")
ONCE = (
    *(
        f"--ignore=tests/{name}"
        for name in ("docs", "typing", "integration", "chaos", "tools/test_servers.py")
    ),
    *(
        f"--deselect=tests/conformance/test_{name.lower()}.py::Test{name}::{test}"
        for name in ("Kafka", "Amqp")
        for test in ("test_scenario", "test_restart")
    ),
    # Holds the comments of Google's files, which differ with the protoc inside of grpcio-tools.
    "--deselect=tests/golden/test_golden.py::test_output_is_as_expected[well_known]",
)
NO_PACKAGING = "--ignore=tests/packaging"
NOT_RUN = "NOT RUN"
_NUMBERS = re.compile(r"\d+ passed, \d+ failed, \d+ skipped$")


@dataclass(frozen=True)
class Result:
    """How the tests of an environment ended: the exit code, pytest's numbers, and what it could not run."""

    code: int
    said: str
    missing: Sequence[str] = ()

    @property
    def status(self) -> str:
        """PASS, FAIL, or NOT RUN where no test failed and something that they need is missing."""
        if self.code:
            return "FAIL"
        return NOT_RUN if self.missing else "PASS"


def main(names: Sequence[str]) -> int:
    """1 when a run fails."""
    runs: dict[str, Callable[[], Result]] = {version: _version(version, path) for version, path in pythons()}
    runs |= {"lowest": lowest, "highest": highest}
    chosen = names or [*runs]
    if strange := [name for name in chosen if name not in runs]:
        print(f"test-all: not here: {', '.join(strange)}; there are {', '.join(runs)}")
        return 1
    results = {name: _announced(name, runs[name]) for name in chosen}
    if not names:
        absent = Result(0, "", ["no such Python on PATH or under pyenv, or one without ensurepip"])
        results |= {f"3.{minor}": absent for minor in MINORS if f"3.{minor}" not in runs}
    print("\n" + "\n".join(table(results)))
    return int(any(result.code for result in results.values()))


def table(results: Mapping[str, Result]) -> Iterator[str]:
    """A row for each environment, and the last line of all."""
    for name, result in results.items():
        yield f"{result.status:<7}  {name:<7}  {'; '.join(filter(None, [result.said, *result.missing]))}"
    statuses = [result.status for result in results.values()]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in ("PASS", "FAIL", NOT_RUN))
    yield f"\ntest-all: {'FAIL' if 'FAIL' in statuses else 'PASS'}: {counts}"


def _announced(name: str, run: Callable[[], Result]) -> Result:
    print(f"\n=== test-all: {name}", flush=True)
    return run()


def pythons() -> Iterator[tuple[str, str]]:
    """The Pythons that are here, the one of this environment first: version and path."""
    own = f"3.{sys.version_info.minor}"
    yield own, sys.executable
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for minor in MINORS:
        version = f"3.{minor}"
        candidates = [f"python{version}", *map(str, sorted(versions.glob(f"{version}.*/bin/python3")))]
        if version != own and (path := next(filter(_runs, candidates), None)):
            yield version, path


def _runs(python: str) -> bool:
    found = shutil.which(python)
    return (
        bool(found)
        and subprocess.run([python, "-c", "import ensurepip"], capture_output=True, check=False).returncode
        == 0
    )


def _version(version: str, python: str) -> Callable[[], Result]:
    def run() -> Result:
        if python == sys.executable:
            return pytest(Path(sys.executable), ROOT)
        settings = Settings(f".venv-{version}", ROOT / "constraints.txt", python)
        return set_up(settings, ROOT) or pytest(settings.executable(ROOT), ROOT, *ONCE)

    return run


def lowest() -> Result:
    """The lower bounds of pyproject.toml, in a copy: generated code must not be newer than its protobuf."""
    shutil.rmtree(BUILD / "lowest", ignore_errors=True)
    ignored = shutil.ignore_patterns(".git", ".venv*", "build", "dist", ".cache", ".*_cache", "__pycache__")
    checkout = Path(shutil.copytree(ROOT, BUILD / "lowest", ignore=ignored))
    constraints = checkout / "lowest.txt"
    constraints.write_text("".join(f"{pin}\n" for pin in lowest_pins()))
    settings = Settings(".venv", constraints, sys.executable)
    return (
        set_up(settings, checkout)
        or generate(settings.executable(checkout), checkout)
        or pytest(settings.executable(checkout), checkout, *ONCE, NO_PACKAGING)
    )


def lowest_pins() -> list[str]:
    """`name==bound` for what users install, constraints.txt for the direct development tools."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    product = [*project["dependencies"], *(line for name in PRODUCT_EXTRAS for line in extras[name])]
    bounds = dict(bound_of(line) for line in product)
    tools = {bound_of(line)[0] for line in extras["dev"]} - bounds.keys() - {"eventwire"}
    pinned = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().split("\n") if "==" in line
    )
    return [f"{name}=={bound}" for name, bound in bounds.items()] + [
        f"{name}=={pinned[name]}" for name in sorted(tools)
    ]


def bound_of(requirement: str) -> tuple[str, str]:
    """The name of a requirement and the lowest version that it allows."""
    match = re.match(r"([\w-]+)(?:\[[\w,-]+\])?(?:[>=]=([\w.]+))?", requirement)
    if match is None:
        raise ValueError(f"pyproject.toml: {requirement!r} is no requirement with a lower bound")
    return match[1].lower(), match[2] or ""


def highest() -> Result:
    """The newest versions that there are."""
    shutil.rmtree(ROOT / ".venv-highest", ignore_errors=True)
    BUILD.mkdir(parents=True, exist_ok=True)
    nothing = BUILD / "highest.txt"
    nothing.write_text("")
    settings = Settings(".venv-highest", nothing, sys.executable)
    return set_up(settings, ROOT) or pytest(settings.executable(ROOT), ROOT, *ONCE, NO_PACKAGING)


@dataclass(frozen=True)
class Settings:
    """What `tools/setup` makes an environment from; ``venv`` is relative to the checkout."""

    venv: str
    constraints: Path
    python: str

    def executable(self, checkout: Path) -> Path:
        """The Python of the environment."""
        return checkout / self.venv / "bin/python"


def set_up(settings: Settings, checkout: Path) -> Result | None:
    """Makes the environment; the failure, if it could not be made."""
    variables = {
        "VENV": settings.venv,
        "CONSTRAINTS": str(settings.constraints),
        "PYTHON": settings.python,
    }
    code = subprocess.run([checkout / "tools/setup"], env=os.environ | variables, check=False).returncode
    return Result(code, "the environment could not be made") if code else None


def generate(python: Path, checkout: Path) -> Result | None:
    """The shop's code with the protoc of the environment; the failure, if there is one."""
    command = [str(python), "-m", "eventwire", "gen", "examples/shop/proto", "--out", "examples/shop/gen"]
    code = subprocess.run(command, cwd=checkout, check=False).returncode
    return Result(code, "`eventwire gen` failed") if code else None


def pytest(python: Path, checkout: Path, *options: str) -> Result:
    """Runs the tests, shows what they say, and keeps the numbers and the rows of what was not run."""
    started = time.monotonic()
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    with subprocess.Popen(
        [python, "-m", "pytest", *options],
        cwd=checkout,
        env=os.environ | {"PATH": path, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as running:
        assert running.stdout is not None  # noqa: S101  a pipe was asked for
        lines = [*_shown(running.stdout)]
    numbers = next(filter(_NUMBERS.match, reversed(lines)), f"pytest ended with status {running.returncode}")
    missing = [line.removeprefix(NOT_RUN).strip() for line in lines if line.startswith(NOT_RUN)]
    return Result(running.returncode, f"{numbers}, {time.monotonic() - started:.0f} s", missing)


def _shown(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        print(line, end="", flush=True)
        yield line.rstrip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
