"""What a user of the stubs may write, and what both type checkers refuse."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from eventwire_gen.pyi import render
from tests.unit.generator.protos import compiled

pytestmark = pytest.mark.slow

PROTO = """
edition = "2023";
package use;
import "google/protobuf/timestamp.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/struct.proto";
message Order {
  string id = 1;
  Color color = 2;
  google.protobuf.Timestamp at = 3;
  google.protobuf.Duration took = 4;
  google.protobuf.Struct more = 5;
  map<string, Line> lines = 6;
  repeated Color colors = 7;
  oneof payment { string card = 8; Line voucher = 9; }
  repeated Line all = 10;
  map<string, double> rates = 11;
  message Line { int32 count = 1 [features.field_presence = IMPLICIT]; }
  extensions 100 to 200;
}
enum Color { RED = 0; BLUE = 1; }
extend Order { string note = 100; repeated Order.Line extra = 101; }
"""

RIGHT = """
from datetime import datetime, timedelta
from typing import Literal, assert_type
from google.protobuf.message import Message
from use_pb2 import BLUE, Color, Order, extra, note

now = datetime.now()
line = Order.Line(count=1)
order = Order(
    id="1", color=Color.RED, at=now, took=timedelta(1), more={"a": [1]}, lines={"x": line}, all=[line],
    colors=["RED", BLUE],
)
order.color = BLUE
order.at = now
order.more = {"b": 2}
order.more["c"] = 3
order.at.FromDatetime(now)
order.lines["x"].count += 1
order.rates["eur"] = 1.5
order.colors.append(Color.Value("BLUE"))
order.all.add(count=2)
assert_type(order.color, Color)
assert_type(Color.items(), list[tuple[str, Color]])
assert_type(order.WhichOneof("payment"), Literal["card", "voucher"] | None)
assert_type([each.count for each in order.all], list[int])
assert_type(order.Extensions[note], str)
order.Extensions[note] = "n"
order.Extensions[extra].add(count=1)
order.voucher.SetInParent()
assert order.HasField("voucher") and order.HasField("payment") and order.HasExtension(note)
order.ClearField("lines")
number: int = Order.ID_FIELD_NUMBER
value: Color.ValueType = Color.BLUE
message: Message = order
copy: Order = Order.FromString(order.SerializeToString())
full_name = Order.DESCRIPTOR.full_name
"""

WRONG = """
from use_pb2 import Color, Order, note

order = Order(ident="1")  # wrong
order = Order(id=1)  # wrong
order = Order("1")  # wrong
order.id = 2  # wrong
order.color = 1  # wrong
order.voucher = Order.Line()  # wrong
order.colour = Color.RED  # wrong
order.HasField("colors")  # wrong
order.voucher.HasField("count")  # wrong
order.WhichOneof("oneof")  # wrong
order.ClearField("nope")  # wrong
order.Extensions[note] = 1  # wrong
Order.Line().Extensions[note]  # wrong
Color(1)  # wrong
Color.GREEN  # wrong
order.lines["x"] = 1  # wrong
order.colors.append(3)  # wrong
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("usage")
    (work / "use.proto").write_text(PROTO)
    _run(
        [sys.executable, "-W", "ignore", "-m", "grpc_tools.protoc", "-I.", "--python_out=.", "use.proto"],
        work,
    )
    files = compiled({"use.proto": PROTO})
    (work / "use_pb2.pyi").write_text(render(files["use.proto"], files, None))
    (work / "right.py").write_text(RIGHT)
    (work / "wrong.py").write_text(WRONG)
    (work / "pyrightconfig.json").write_text(
        json.dumps({"typeCheckingMode": "strict", "pythonVersion": "3.11"})
    )
    return work


@pytest.fixture(params=["mypy", "pyright"])
def checker(request: pytest.FixtureRequest) -> list[str]:
    options = {"mypy": ["--strict", "--python-version", "3.11"], "pyright": ["--pythonpath", sys.executable]}
    return [sys.executable, "-m", request.param, *options[request.param]]


def test_right_use_is_accepted(folder: Path, checker: list[str]) -> None:
    done = _run([*checker, "right.py"], folder)
    assert done.returncode == 0, done.stdout


def test_right_use_is_right(folder: Path) -> None:
    done = _run([sys.executable, "right.py"], folder)
    assert done.returncode == 0, done.stderr


def test_every_wrong_use_is_refused(folder: Path, checker: list[str]) -> None:
    done = _run([*checker, "wrong.py"], folder)
    assert done.returncode == 1
    wrong = {number for number, line in enumerate(WRONG.splitlines(), 1) if line.endswith("# wrong")}
    found = {
        number for number in range(1, len(WRONG.splitlines()) + 1) if f"wrong.py:{number}:" in done.stdout
    }
    assert found == wrong, done.stdout


def _run(command: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
