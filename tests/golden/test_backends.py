"""The other message libraries: the same stubs, working with the messages of their own compilers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from eventwire_gen.backends import BACKENDS, BETTERPROTO, BETTERPROTO2, PROTOBUF, Backend
from eventwire_gen.generate import generate
from eventwire_gen.settings import Settings

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
OTHERS = [BETTERPROTO2, BETTERPROTO]

USE = """
import datetime
from acme.golden.event_fields.v1 import Kind, Parcel, Sent, SentMeta
from acme.golden.event_fields.v1 import event_fields_eventwire as stub

event = stub.SENT_EVENT
at = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)
full = Sent(parcel=Parcel(id="p", note="n"), event_id=b"\\x01", meta=SentMeta(at=at), tenant="t", express=True,
    weight=0.5, kind=Kind(1))
for message in (full, event.codec.decode(event.codec.encode(full))):
    assert message == full
    assert event.key.read(message) == "p"
    assert event.id.read(message) == b"\\x01"
    assert event.subject.read(message) == "n"
    assert event.time(message) == at.timestamp()
    assert [header.read(message) for header in event.headers] == ["t", "true", "0.5", "1"]
for message in (Sent(), event.codec.decode(b"")):
    assert event.key.read(message) is None
    assert event.subject.read(message) is None
    assert event.time(message) is None
    assert [header.read(message) for header in event.headers] == ["", "false", None, "0"]
try:
    event.codec.decode(b"\\x0a\\xff")
except ValueError:
    print("done")
"""


def protoc(*arguments: str) -> None:
    # betterproto2's compiler looks for ruff on the path.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", *arguments]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PATH": path})


def response(case: str, folder: Path, settings: Settings) -> CodeGeneratorResponse:
    files = sorted(str(path.relative_to(HERE / case)) for path in (HERE / case).rglob("*.proto"))
    target = folder / "files.binpb"
    protoc(
        f"-I{HERE / case}",
        "--include_imports",
        "--include_source_info",
        f"--descriptor_set_out={target}",
        *files,
    )
    known = FileDescriptorSet.FromString(target.read_bytes())
    return generate(CodeGeneratorRequest(file_to_generate=files, proto_file=known.file), settings)


def stub_lines(backend: Backend, folder: Path) -> list[str]:
    (file,) = response("event_fields", folder, Settings(backend=backend, package="acme", pyi=False)).file
    return file.content.splitlines()


@pytest.mark.parametrize("backend", OTHERS, ids=lambda backend: backend.name)
def test_only_imports_differ_from_the_stub_for_protobuf(backend: Backend, tmp_path: Path) -> None:
    ours, theirs = stub_lines(PROTOBUF, tmp_path), stub_lines(backend, tmp_path)
    different = [line for line in theirs if line not in ours]
    assert different == [
        f"# messages={backend.name}",
        f"from eventwire.codecs import {backend.name} as codecs",
        "from acme.golden.event_fields.v1 import Arrived, Sent",
    ]


@pytest.mark.parametrize("backend", OTHERS, ids=lambda backend: backend.name)
def test_stub_works_with_the_compilers_messages(backend: Backend, tmp_path: Path) -> None:
    package = tmp_path / "acme"
    package.mkdir()
    case = HERE / "event_fields"
    bin_folder = Path(sys.executable).parent
    protoc(
        f"--plugin=protoc-gen-messages={bin_folder / f'protoc-gen-python_{backend.name}'}",
        *(f"-I{case}", f"--messages_out={package}", "eventwire/v1/options.proto"),
        "golden/event_fields/v1/event_fields.proto",
    )
    (file,) = response("event_fields", tmp_path, Settings(backend=backend, package="acme", pyi=False)).file
    (package / file.name).write_text(file.content)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", USE], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("done\n", "")


@pytest.mark.parametrize("backend", OTHERS, ids=lambda backend: backend.name)
@pytest.mark.parametrize(
    ("case", "asked"),
    [
        ("proto2", "messages of proto2 files"),
        ("edition2023", "messages of edition files"),
        ("well_known", "google.protobuf messages as events"),
        ("no_package", "files without a package"),
    ],
)
def test_what_a_backend_cannot_do_is_a_fault(backend: Backend, case: str, asked: str, tmp_path: Path) -> None:
    error = response(case, tmp_path, Settings(backend=backend, package="acme")).error
    assert f"messages={backend.name} cannot do {asked}; messages=protobuf can" in error


def test_json_needs_a_backend_with_protojson(tmp_path: Path) -> None:
    error = response("all_options", tmp_path, Settings(backend=BETTERPROTO, package="acme")).error
    assert "cannot do data_format: DATA_FORMAT_JSON; messages=protobuf or messages=betterproto2 can" in error
    assert not response("all_options", tmp_path, Settings(backend=BETTERPROTO2, package="acme")).error


@pytest.mark.parametrize("backend", OTHERS, ids=lambda backend: backend.name)
def test_needs_a_package(backend: Backend, tmp_path: Path) -> None:
    error = response("shop_orders", tmp_path, Settings(backend=backend)).error
    assert error == (
        f"messages={backend.name} needs a package: run `eventwire gen --messages {backend.name} --package NAME`"
    )


def test_every_backend_has_its_codecs() -> None:
    assert {path.stem for path in (ROOT / "runtime/eventwire/codecs").glob("*.py")} >= set(BACKENDS)


CARRIED = """
syntax = "proto3";
package carried.v1;
import "eventwire/v1/options.proto";
message Orders {
  option (eventwire.v1.topic) = {name: "orders" key_field: "order_id"};
  oneof event {
    OrderPlaced order_placed = 1;
    OrderCancelled order_cancelled = 2;
  }
}
message OrderPlaced {
  option (eventwire.v1.event) = {id_field: "order_id"};
  string order_id = 1;
  repeated Line lines = 2;
}
message Line {
  string sku = 1;
  int64 cents = 2;
}
message OrderCancelled {
  string order_id = 1;
  string tenant = 2 [(eventwire.v1.field).header = "tenant"];
}
"""

CARRY = """
import asyncio
from acme.carried.v1 import Line, OrderCancelled, OrderPlaced
from acme.carried.v1.orders_eventwire import OrdersHandler, OrdersPublisher
from eventwire import Bus, Worker

got = []

class Log(OrdersHandler):
    async def on_order_placed(self, event, context):
        got.append((event, context.id, context.key))

    async def on_order_cancelled(self, event, context):
        print(context.message.content_type)
        got.append((event, context.attribute("tenant"), context.key))

async def main():
    placed = OrderPlaced(order_id="o-1", lines=[Line(sku="tea", cents=2**53 + 1), Line(sku="\\u00fc")])
    cancelled = OrderCancelled(order_id="o-1", tenant="t")
    async with Bus("memory://?inline=true", declare=True) as bus, Worker(bus, Log(), group="log"):
        await OrdersPublisher(bus).publish(placed)
        await OrdersPublisher(bus).publish(cancelled)
    assert got == [(placed, "o-1", b"o-1"), (cancelled, "t", b"o-1")], got

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("backend", "data"),
    [("betterproto2", "PROTOBUF"), ("betterproto2", "JSON"), ("betterproto", "PROTOBUF")],
)
def test_events_reach_their_handlers(backend: str, data: str, tmp_path: Path) -> None:
    source = tmp_path / "proto/carried/v1/orders.proto"
    source.parent.mkdir(parents=True)
    options = f'key_field: "order_id" data_format: DATA_FORMAT_{data}'
    source.write_text(CARRIED.replace('key_field: "order_id"', options, 1))
    gen = [*(sys.executable, "-m", "eventwire", "gen", "--messages", backend), "--package", "acme"]
    for command in ([*gen, "--out", "acme"], [sys.executable, "-W", "error", "-c", CARRY]):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert done.stdout == f"application/{data.lower()}\n"
