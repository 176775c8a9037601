"""What users install: built, put into clean environments outside the checkout, and used there."""

import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
TEA = """\
syntax = "proto3";

package tea.v1;

import "eventwire/v1/options.proto";

message Cups {
  option (eventwire.v1.topic) = {name: "tea.cups" key_field: "leaf"};
  oneof event {
    CupPoured cup_poured = 1;
  }
}

message CupPoured {
  string leaf = 1;
  int32 grams = 2;
}
"""
ROUND_TRIP = """\
import asyncio

from eventwire import Bus, Context, Worker
from tea.v1.cups_eventwire import CupsHandler, CupsPublisher
from tea.v1.cups_pb2 import CupPoured

poured = asyncio.Event()


class Drinker(CupsHandler):
    async def on_cup_poured(self, event: CupPoured, context: Context) -> None:
        print(event.leaf, event.grams)
        poured.set()


async def main() -> None:
    async with Bus("memory://") as bus:
        worker = asyncio.create_task(Worker(bus, Drinker(), group="drinkers").run())
        await CupsPublisher(bus).publish(CupPoured(leaf="assam", grams=3))
        await asyncio.wait_for(poured.wait(), 30)
        worker.cancel()
        await asyncio.wait([worker])


asyncio.run(main())
"""


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and a folder to work in that is not the checkout."""

    venv: Path
    work: Path

    def run(self, command: str, *arguments: str) -> str:
        """Standard output of one of its programs; a failure shows what it said."""
        return run([str(self.venv / "bin" / command), *arguments], self.work)

    def packages(self) -> set[str]:
        """The names of what is installed."""
        rows = self.run("python", "-m", "pip", "list", "--format", "freeze").splitlines()
        return {row.partition("==")[0].lower().replace("_", "-") for row in rows}


def run(command: Sequence[str], work: Path) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(command, cwd=work, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def environment(folder: Path, *requirements: str) -> Environment:
    run([sys.executable, "-m", "venv", str(folder / "venv")], folder)
    made = Environment(folder / "venv", folder)
    made.run("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements)
    return made


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(folder)], ROOT)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "source", filter="data")
    (source,) = (folder / "source").iterdir()
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], source)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return environment(tmp_path_factory.mktemp("base"), str(wheel))


@pytest.fixture(scope="module")
def generated(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `eventwire gen` of an installed sdist with the extra writes."""
    (sdist,) = built.glob("*.tar.gz")
    made = environment(tmp_path_factory.mktemp("gen"), f"eventwire[gen] @ {sdist.as_uri()}")
    proto = made.work / "proto/tea/v1/cups.proto"
    proto.parent.mkdir(parents=True)
    proto.write_text(TEA)
    made.run("eventwire", "gen", "proto", "--out", "gen")
    return made.work / "gen"


def test_the_wheel_holds_the_product_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    needed = {
        "eventwire/py.typed",
        "eventwire_gen/py.typed",
        "eventwire/v1/options_pb2.py",
        "eventwire/_proto/eventwire/v1/options.proto",
    }
    assert needed <= names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"eventwire", "eventwire_gen"}
    expected = {
        str(path.relative_to(root))
        for root in (ROOT / "runtime", ROOT / "generator")
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert expected - names == set()


def test_the_base_install_is_protobuf_alone(base: Environment) -> None:
    allowed = {"eventwire", "protobuf", "pip", "setuptools", "typing-extensions"}
    assert {"eventwire", "protobuf"} <= base.packages() <= allowed
    if sys.version_info >= (3, 12):
        assert "typing-extensions" not in base.packages()


def test_importing_needs_no_extra(base: Environment) -> None:
    base.run("python", "-W", "error", "-c", "import eventwire, eventwire.cli, eventwire.testing")


def test_proto_path_is_a_folder_with_the_vocabulary(base: Environment) -> None:
    folder = Path(base.run("eventwire", "proto-path").strip())
    assert (folder / "eventwire/v1/options.proto").read_bytes() == (
        ROOT / "proto/eventwire/v1/options.proto"
    ).read_bytes()
    assert folder.is_relative_to(base.venv)


def test_gen_without_its_extra_says_what_to_install(base: Environment) -> None:
    done = subprocess.run(
        [base.venv / "bin/eventwire", "gen"], cwd=base.work, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.strip()) == (
        2,
        "eventwire gen needs an extra: pip install 'eventwire[gen]'",
    )


def test_generated_code_carries_an_event_on_the_base_install(base: Environment, generated: Path) -> None:
    (generated / "round_trip.py").write_text(ROUND_TRIP)
    assert base.run("python", "-W", "error", str(generated / "round_trip.py")) == "assam 3\n"
