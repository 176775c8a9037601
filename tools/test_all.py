"""`make test-all`: the tests under every Python that is here, and with the lowest and highest dependencies.

python -m tools.test_all [NAME ...]   3.11 ... 3.14, lowest, highest; all of them if none is named

The main environment runs everything; the others leave out what depends on none of that (docs, typing, packaging).
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build/test-all"
MINORS = range(11, 15)
# What users install. Development tools stay at the versions of constraints.txt in the lowest run.
PRODUCT_EXTRAS = ("gen", "kafka", "amqp", "betterproto", "betterproto2")
ONCE = ("docs", "typing", "packaging")
# Holds the comments of Google's files, which differ with the protoc inside of grpcio-tools.
OF_ONE_PROTOC = "tests/golden/test_golden.py::test_output_is_as_expected[well_known]"


def main(names: Sequence[str]) -> int:
    """1 when a run fails."""
    runs: dict[str, Callable[[], int]] = {version: _version(version, path) for version, path in pythons()}
    runs |= {"lowest": lowest, "highest": highest}
    chosen = names or [*runs]
    if strange := [name for name in chosen if name not in runs]:
        print(f"test-all: not here: {', '.join(strange)}; there are {', '.join(runs)}")
        return 1
    results = {name: _announced(name, runs[name]) for name in chosen}
    print("\n" + "\n".join(f"{'FAIL' if code else 'PASS'}  {name}" for name, code in results.items()))
    missing = [f"3.{minor}" for minor in MINORS if f"3.{minor}" not in runs]
    if missing:
        print(f"NOT RUN  {', '.join(missing)}: no such Python on PATH or under pyenv")
    return int(any(results.values()))


def _announced(name: str, run: Callable[[], int]) -> int:
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


def _version(version: str, python: str) -> Callable[[], int]:
    def run() -> int:
        if python == sys.executable:
            return pytest(Path(sys.executable), ROOT)
        return environment(f".venv-{version}", ROOT / "constraints.txt", python, ROOT)

    return run


def lowest() -> int:
    """The lower bounds of pyproject.toml, in a copy: generated code must not be newer than its protobuf."""
    shutil.rmtree(BUILD / "lowest", ignore_errors=True)
    ignored = shutil.ignore_patterns(".git", ".venv*", "build", "dist", ".cache", ".*_cache", "__pycache__")
    checkout = Path(shutil.copytree(ROOT, BUILD / "lowest", ignore=ignored))
    constraints = checkout / "lowest.txt"
    constraints.write_text("".join(f"{pin}\n" for pin in lowest_pins()))
    return environment(".venv", constraints, sys.executable, checkout, generate=True)


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


def highest() -> int:
    """The newest versions that there are."""
    shutil.rmtree(ROOT / ".venv-highest", ignore_errors=True)
    BUILD.mkdir(parents=True, exist_ok=True)
    nothing = BUILD / "highest.txt"
    nothing.write_text("")
    return environment(".venv-highest", nothing, sys.executable, ROOT)


def environment(venv: str, constraints: Path, python: str, checkout: Path, *, generate: bool = False) -> int:
    """Makes the environment and runs the tests in it."""
    settings = {"VENV": venv, "CONSTRAINTS": str(constraints), "PYTHON": python}
    if code := subprocess.run([checkout / "tools/setup"], env=os.environ | settings, check=False).returncode:
        return code
    executable = checkout / venv / "bin/python"
    command = [str(executable), "-m", "eventwire", "gen", "examples/shop/proto", "--out", "examples/shop/gen"]
    if generate and (code := subprocess.run(command, cwd=checkout, check=False).returncode):
        return code
    return pytest(
        executable, checkout, f"--deselect={OF_ONE_PROTOC}", *(f"--ignore=tests/{name}" for name in ONCE)
    )


def pytest(python: Path, checkout: Path, *options: str) -> int:
    """Its exit code."""
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [python, "-m", "pytest", *options], cwd=checkout, env=os.environ | {"PATH": path}, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
