from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import EDITION_2024, EDITION_PROTO2, FileDescriptorProto

from eventwire.v1 import options_pb2
from eventwire_gen import plugin
from eventwire_gen.generate import generate
from eventwire_gen.settings import Settings


def topic_file(name: str = "shop/orders.proto", topic: str = "orders") -> FileDescriptorProto:
    file = FileDescriptorProto(name=name, package="shop", syntax="proto3")
    file.dependency.append("eventwire/v1/options.proto")
    message = file.message_type.add(name=topic.title())
    message.options.Extensions[options_pb2.topic].name = topic
    return file


def request(*files: FileDescriptorProto, parameter: str = "") -> CodeGeneratorRequest:
    return CodeGeneratorRequest(
        proto_file=files, file_to_generate=[file.name for file in files], parameter=parameter
    )


def names(response: CodeGeneratorResponse) -> list[str]:
    return [file.name for file in response.file]


def test_main_writes_nothing_but_the_response(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = request(FileDescriptorProto(name="a.proto", syntax="proto3"), parameter="pyi=false")
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(asked.SerializeToString())))
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=written))
    plugin.main()
    response = CodeGeneratorResponse.FromString(written.getvalue())
    assert not response.error
    assert not response.file


def test_says_which_editions_it_reads() -> None:
    response = generate(request(), Settings())
    assert response.supported_features == 3
    assert (response.minimum_edition, response.maximum_edition) == (EDITION_PROTO2, EDITION_2024)


def test_wrong_parameter_is_the_responses_error() -> None:
    response = plugin.respond(request(parameter="pie=false"))
    assert response.error == 'protoc-gen-eventwire: unknown parameter "pie", did you mean "pyi"?'
    assert response.supported_features == 3


def test_files_that_are_only_imported_are_not_written() -> None:
    asked = request(topic_file())
    asked.proto_file.append(topic_file("shop/other.proto", "other"))
    assert names(plugin.respond(asked)) == ["shop/orders_eventwire.py", "shop/orders_pb2.pyi"]


def test_pyi_can_be_left_out() -> None:
    assert names(plugin.respond(request(topic_file(), parameter="pyi=false"))) == ["shop/orders_eventwire.py"]


def test_one_fault_leaves_nothing_written() -> None:
    response = plugin.respond(request(topic_file(), topic_file("shop/twice.proto", "orders")))
    assert "already that of shop.Orders" in response.error
    assert not response.file


def test_a_package_goes_before_imports_across_folders() -> None:
    file, other = (
        topic_file("shop/orders.proto"),
        FileDescriptorProto(name="common/money.proto", syntax="proto3"),
    )
    other.message_type.add(name="Paid")
    file.dependency[:] = [other.name]
    message = file.message_type[0]
    message.oneof_decl.add(name="event")
    message.field.add(name="paid", number=1, label=1, type=11, type_name=".Paid", oneof_index=0)
    asked = CodeGeneratorRequest(proto_file=[other, file], file_to_generate=[file.name])
    (stub,) = generate(asked, Settings(pyi=False, package="acme.events")).file
    assert stub.name == "shop/orders_eventwire.py"
    assert "from acme.events.common.money_pb2 import Paid\n" in stub.content


def test_the_same_request_gives_the_same_bytes() -> None:
    asked = request(topic_file(), topic_file("shop/other.proto", "other"))
    once, again = (generate(asked, Settings()).SerializeToString(deterministic=True) for _ in range(2))
    assert once == again


def test_options_of_a_newer_vocabulary_are_told() -> None:
    file = topic_file()
    topic = file.message_type[0].options.Extensions[options_pb2.topic]
    topic.MergeFromString(b"\xf8\x07\x01")  # field 127
    assert "option number 127 of eventwire.v1 is unknown here" in plugin.respond(request(file)).error


def test_a_template_that_is_no_jinja_is_told(tmp_path: Path) -> None:
    (tmp_path / "mine.txt.jinja").write_text("fine\n{% if %}\n")
    response = plugin.respond(request(topic_file(), parameter=f"templates={tmp_path}"))
    assert response.error.startswith(f"{tmp_path / 'mine.txt.jinja'}:2:1: ")


def test_a_users_template_goes_before_ours(tmp_path: Path) -> None:
    (tmp_path / "eventwire.py.jinja").write_text("# {{ file.source }}\n")
    response = plugin.respond(request(topic_file(), parameter=f"pyi=false,templates={tmp_path}"))
    assert [(file.name, file.content) for file in response.file] == [
        ("shop/orders_eventwire.py", "# shop/orders.proto\n")
    ]
