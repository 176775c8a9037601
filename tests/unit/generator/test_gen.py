import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from eventwire_gen.cli import gen
from eventwire_gen.compile import plugins
from eventwire_gen.compile.output import MANIFEST

ORDERS = """syntax = "proto3";
package shop.orders.v1;
import "eventwire/v1/options.proto";
import "shop/common/v1/money.proto";
message Orders {
  option (eventwire.v1.topic) = {name: "orders" key_field: "id"};
  oneof event { OrderPlaced order_placed = 1; }
}
message OrderPlaced { string id = 1; shop.common.v1.Money total = 2; }
"""
MONEY = 'syntax = "proto3"; package shop.common.v1; message Money { int64 cents = 1; }'
FAULTY = ORDERS.replace('"id"', '"ident"').replace("orders.v1", "faulty.v1")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write("proto/shop/orders/v1/orders.proto", ORDERS)
    write("proto/shop/common/v1/money.proto", MONEY)
    return tmp_path


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")


def tree(folder: str = "gen") -> dict[str, bytes]:
    root = Path(folder)
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def names(folder: str = "gen") -> set[str]:
    return set(tree(folder)) - {MANIFEST}


def in_a_fresh_interpreter(folder: str, code: str) -> None:
    """Generated modules register in one pool for the process: none may be loaded into that of the tests."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


WRITTEN = {
    "shop/orders/v1/orders_pb2.py",
    "shop/orders/v1/orders_pb2.pyi",
    "shop/orders/v1/orders_eventwire.py",
    "shop/common/v1/money_pb2.py",
    "shop/common/v1/money_pb2.pyi",
}


@pytest.mark.usefixtures("project")
def test_it_compiles_the_proto_folder_into_gen(capsys: pytest.CaptureFixture[str]) -> None:
    assert gen.command([]) == 0
    assert names() == WRITTEN
    assert capsys.readouterr().out.startswith("2 files, 1 topic, 6 changed in gen (")


@pytest.mark.usefixtures("project")
def test_a_second_run_touches_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    gen.command([])
    for path in Path("gen").rglob("*.py*"):
        os.utime(path, (1, 1))
    before = tree()
    assert gen.command([]) == 0
    assert tree() == before
    assert {path.stat().st_mtime for path in Path("gen").rglob("*.py*")} == {1}
    assert "0 changed" in capsys.readouterr().out


@pytest.mark.usefixtures("project")
def test_outputs_of_a_removed_file_go_and_nothing_else() -> None:
    gen.command([])
    write("gen/shop/orders/v1/notes.py", "mine = 1\n")
    write("gen/shop/common/v1/__init__.py", "mine = 1\n")
    Path("proto/shop/orders/v1/orders.proto").unlink()
    assert gen.command([]) == 0
    left = {"shop/common/v1/money_pb2.py", "shop/common/v1/money_pb2.pyi", "shop/common/v1/__init__.py"}
    assert names() == left | {"shop/orders/v1/notes.py"}


@pytest.mark.usefixtures("project")
def test_a_folder_that_is_empty_then_goes_too() -> None:
    gen.command([])
    Path("proto/shop/orders/v1/orders.proto").unlink()
    gen.command([])
    assert not Path("gen/shop/orders").exists()


@pytest.mark.usefixtures("project")
def test_a_run_on_a_part_keeps_the_rest() -> None:
    gen.command([])
    assert gen.command(["proto/shop/common"]) == 0
    assert names() == WRITTEN
    Path("proto/shop/orders/v1/orders.proto").unlink()
    gen.command([])
    assert names() == {name for name in WRITTEN if "common" in name}


@pytest.mark.usefixtures("project")
def test_a_file_that_it_did_not_write_is_not_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    write("gen/shop/orders/v1/orders_pb2.pyi", "mine: int\n")
    assert gen.command([]) == 1
    assert "gen/shop/orders/v1/orders_pb2.pyi" in capsys.readouterr().err
    assert names() == {"shop/orders/v1/orders_pb2.pyi"}


@pytest.mark.usefixtures("project")
def test_every_fault_is_told_with_its_path_and_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    write(
        "proto/shop/faulty/v1/faulty.proto", FAULTY.replace('name: "orders"', 'name: "faulty" partitions: -1')
    )
    assert gen.command([]) == 1
    told = capsys.readouterr().err
    assert told.count("proto/shop/faulty/v1/faulty.proto:6:") == 2
    assert not Path("gen").exists()


@pytest.mark.usefixtures("project")
def test_a_fault_leaves_the_output_of_earlier_runs_alone() -> None:
    gen.command([])
    before = tree()
    write("proto/shop/common/v1/money.proto", MONEY.replace("cents", "units"))
    write("proto/shop/faulty/v1/faulty.proto", FAULTY)
    assert gen.command([]) == 1
    assert tree() == before


@pytest.mark.usefixtures("project")
def test_what_protoc_refuses_is_told_with_the_path_as_given(capsys: pytest.CaptureFixture[str]) -> None:
    write("proto/broken.proto", 'syntax = "proto3";\nmessage A { Nope nope = 1; }\n')
    assert gen.command([]) == 1
    assert capsys.readouterr().err == 'proto/broken.proto:2:13: "Nope" is not defined.\n'


@pytest.mark.usefixtures("project")
def test_check_lists_what_is_not_current(capsys: pytest.CaptureFixture[str]) -> None:
    gen.command([])
    assert gen.command(["--check"]) == 0
    Path("gen/shop/orders/v1/orders_eventwire.py").unlink()
    write("proto/shop/common/v1/money.proto", MONEY.replace("cents", "units"))
    before = tree()
    capsys.readouterr()
    assert gen.command(["--check"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "gen/shop/common/v1/money_pb2.py is stale",
        "gen/shop/common/v1/money_pb2.pyi is stale",
        "gen/shop/orders/v1/orders_eventwire.py is missing",
    ]
    Path("proto/shop/orders/v1/orders.proto").unlink()
    assert gen.command(["--check"]) == 1
    assert "orders_pb2.py is left over" in capsys.readouterr().out
    assert tree() == before


@pytest.mark.usefixtures("project")
def test_settings_come_from_pyproject_and_flags_go_first() -> None:
    write("pyproject.toml", '[tool.eventwire]\nproto = ["proto"]\nout = "src/gen"\n')
    assert gen.command([]) == 0
    assert names("src/gen") == WRITTEN
    assert gen.command(["--out", "other"]) == 0
    assert names("other") == WRITTEN


@pytest.mark.usefixtures("project")
def test_the_table_is_found_from_a_folder_below(monkeypatch: pytest.MonkeyPatch) -> None:
    write("pyproject.toml", '[tool.eventwire]\nproto = ["proto"]\nout = "gen"\n')
    monkeypatch.chdir("proto/shop")
    assert gen.command([]) == 0
    monkeypatch.chdir("../..")
    assert names() == WRITTEN


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("table", "flags", "told"),
    [
        ("outt = 1", [], '[tool.eventwire] has no "outt", did you mean "out"?'),
        ("out = 1", [], "[tool.eventwire] out is a text, not 1"),
        ("proto = [1]", [], "[tool.eventwire] proto is a list of folders, not [1]"),
        ("init = 1", [], "[tool.eventwire] init is true or false, not 1"),
        ("[", [], "pyproject.toml:"),
        (
            "",
            ["--messages", "nope"],
            'messages="nope" is unknown; there are protobuf, betterproto2, betterproto',
        ),
        ("", ["--messages", "betterproto2"], "messages=betterproto2 needs --package"),
        ("", ["--templates", "nope"], "templates=nope is no folder"),
        ("", ["--package", "a-b"], 'package="a-b" is no Python package name'),
        (
            "",
            ["--package", "acme.gen"],
            "out=gen is not the folder of package acme.gen: its path should end in acme/gen",
        ),
    ],
)
def test_wrong_settings_are_told(
    table: str, flags: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write("pyproject.toml", f"[tool.eventwire]\n{table}\n")
    assert gen.command(flags) == 2
    assert told in capsys.readouterr().err
    assert not Path("gen").exists()


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["nope"], "nope does not exist"), (["--proto", "empty"], "no .proto file to compile in empty")],
)
def test_nothing_to_compile_is_a_fault(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    assert gen.command(arguments) == 1
    assert told in capsys.readouterr().err


@pytest.mark.usefixtures("project")
def test_a_folder_elsewhere_is_compiled_on_its_own() -> None:
    write("elsewhere/a/b.proto", 'syntax = "proto3"; message B {}')
    write("elsewhere/.hidden/c.proto", "not read")
    assert gen.command(["elsewhere", "--out", "other"]) == 0
    assert names("other") == {"a/b_pb2.py", "a/b_pb2.pyi"}
    assert gen.command(["elsewhere/a/b.proto", "--out", "third"]) == 0
    assert names("third") == {"b_pb2.py", "b_pb2.pyi"}


@pytest.mark.usefixtures("project")
def test_an_included_folder_is_imported_and_not_compiled(capsys: pytest.CaptureFixture[str]) -> None:
    write("third_party/vendor/v1/x.proto", 'syntax = "proto3"; package vendor.v1; message X {}')
    write("one/a.proto", 'syntax = "proto3"; import "vendor/v1/x.proto"; message A { vendor.v1.X x = 1; }')
    assert gen.command(["--proto", "one", "--include", "third_party"]) == 0
    assert names() == {"a_pb2.py", "a_pb2.pyi"}
    told = "warning: vendor/v1/x.proto is imported and not compiled: name it, too, or its folder\n"
    assert capsys.readouterr().err == told
    assert gen.command(["--proto", "one", "--proto", "third_party"]) == 0
    assert not capsys.readouterr().err


@pytest.mark.usefixtures("project")
def test_modules_of_googleapis_get_stubs_and_nothing_else() -> None:
    write(
        "one/a.proto",
        'syntax = "proto3"; import "google/type/money.proto"; message A { google.type.Money m = 1; }',
    )
    assert gen.command(["one"]) == 0
    assert names() == {"a_pb2.py", "a_pb2.pyi", "google/type/money_pb2.pyi"}
    assert "from google.type.money_pb2 import Money" in Path("gen/a_pb2.pyi").read_text()
    assert gen.command(["one", "--out", "acme", "--package", "acme"]) == 0
    assert names("acme") == {"__init__.py", "a_pb2.py", "a_pb2.pyi"}


@pytest.mark.usefixtures("project")
def test_google_s_common_files_never_move_into_a_package(capsys: pytest.CaptureFixture[str]) -> None:
    write("one/google/type/own.proto", 'syntax = "proto3"; package google.type; message Own {}')
    assert gen.command(["one", "--out", "acme", "--package", "acme"]) == 1
    assert "nothing to compile into a package" in capsys.readouterr().err
    imported = 'import "google/type/own.proto"; message Shop { google.type.Own own = 1; }'
    write("one/google/shop/v1/shop.proto", f'syntax = "proto3"; package google.shop.v1; {imported}')
    assert gen.command(["one", "--out", "acme", "--package", "acme"]) == 0
    assert "google/type/own_pb2.py" not in names("acme")
    assert "from google.type import own_pb2" in Path("acme/google/shop/v1/shop_pb2.py").read_text()
    told = (
        "warning: google/type/own.proto is imported and not installed: pip install googleapis-common-protos\n"
    )
    assert capsys.readouterr().err == told


@pytest.mark.usefixtures("project")
def test_vendored_copies_of_what_is_installed_are_not_compiled() -> None:
    write("proto/google/protobuf/any.proto", 'syntax = "proto3"; package google.protobuf; message Any {}')
    write("proto/eventwire/v1/other.proto", 'syntax = "proto3"; package eventwire.v1; message Other {}')
    assert gen.command([]) == 0
    assert names() == WRITTEN


@pytest.mark.usefixtures("project")
def test_inside_a_package_everything_imports_from_there() -> None:
    assert gen.command(["--out", "src/acme/events", "--package", "acme.events"]) == 0
    inits = {
        f"{folder}__init__.py" for folder in ("", *(f"shop/{each}" for each in ("", "orders/", "orders/v1/")))
    }
    assert inits < names("src/acme/events")
    in_a_fresh_interpreter(
        "src",
        """
        import pickle, sys
        from acme.events.shop.orders.v1.orders_eventwire import ORDERS
        from acme.events.shop.orders.v1.orders_pb2 import OrderPlaced
        assert ORDERS.events[0].message is OrderPlaced
        assert "shop" not in sys.modules
        placed = OrderPlaced(id="1", total={"cents": 3})
        assert pickle.loads(pickle.dumps(placed)) == placed
        """,
    )


@pytest.mark.usefixtures("project")
def test_a_part_of_a_package_imports_the_rest_from_there() -> None:
    package = ["--out", "src/acme/events", "--package", "acme.events"]
    gen.command(package)
    before = tree("src")
    assert gen.command(["proto/shop/orders", *package]) == 0
    assert tree("src") == before


@pytest.mark.usefixtures("project")
def test_init_writes_empty_packages_and_keeps_those_of_the_user() -> None:
    write("gen/shop/__init__.py", "mine = 1\n")
    write("proto/google/type/own.proto", 'syntax = "proto3"; package google.type; message Own {}')
    assert gen.command(["--init"]) == 0
    inits = {name for name in names() if name.endswith("__init__.py")}
    folders = ("shop/", "shop/orders/", "shop/orders/v1/", "shop/common/", "shop/common/v1/")
    assert inits == {f"{folder}__init__.py" for folder in folders}
    assert Path("gen/shop/__init__.py").read_text() == "mine = 1\n"
    assert gen.command([]) == 0
    assert {name for name in names() if name.endswith("__init__.py")} == {"shop/__init__.py"}


@pytest.mark.usefixtures("project")
def test_templates_are_the_user_s(capsys: pytest.CaptureFixture[str]) -> None:
    write("templates/topics.txt.jinja", "{% for topic in file.topics %}{{ topic.name }}{% endfor %}")
    assert gen.command(["--templates", "templates"]) == 0
    assert Path("gen/shop/orders/v1/orders_topics.txt").read_text() == "orders"
    write("templates/topics.txt.jinja", "{{ nope }}")
    assert gen.command(["--templates", "templates"]) == 1
    assert "'nope' is undefined" in capsys.readouterr().err
    Path("templates/topics.txt.jinja").write_bytes(b"\xff")
    assert gen.command(["--templates", "templates"]) == 1
    assert capsys.readouterr().err.startswith("template topics.txt.jinja is no UTF-8 text: ")


@pytest.mark.usefixtures("project")
def test_what_templates_wrote_is_ours_without_a_mark(capsys: pytest.CaptureFixture[str]) -> None:
    template, orders = "templates/topics.md.jinja", "proto/shop/orders/v1/orders.proto"
    written = Path("gen/shop/orders/v1/orders_topics.md")
    flags = ["--templates", "templates"]
    write(template, "{% for topic in file.topics %}{{ topic.name }} {{ topic.partitions }}{% endfor %}")
    gen.command(flags)
    write(orders, ORDERS.replace("key_field", "partitions: 3 key_field"))
    assert gen.command([*flags, "--check"]) == 1
    assert f"{written} is stale" in capsys.readouterr().out
    assert gen.command(flags) == 0
    assert written.read_text() == "orders 3"
    assert gen.command(["--check"]) == 1
    assert f"{written} is left over" in capsys.readouterr().out
    assert gen.command([]) == 0
    assert not written.exists()


@pytest.mark.usefixtures("project")
def test_an_init_that_the_user_filled_is_the_user_s() -> None:
    gen.command(["--init"])
    write("gen/shop/__init__.py", "mine = 1\n")
    assert gen.command(["--init"]) == 0
    assert gen.command([]) == 0
    assert Path("gen/shop/__init__.py").read_text() == "mine = 1\n"


@pytest.mark.usefixtures("project")
def test_what_a_template_raises_is_a_fault_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    write("templates/topics.txt.jinja", "first\n{{ 1 / 0 }}")
    assert gen.command(["--templates", "templates"]) == 1
    told = "templates/topics.txt.jinja:2:1: ZeroDivisionError: division by zero (for shop/orders/v1/orders.proto)\n"
    assert capsys.readouterr().err == told


@pytest.mark.usefixtures("project")
def test_an_output_that_cannot_be_written_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    write("file", "")
    assert gen.command(["--out", "file"]) == 2
    assert gen.command(["--out", "file/below"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "eventwire gen: out=file is no folder",
        "eventwire gen: file/below/.eventwire-gen: Not a directory",
    ]


@pytest.mark.usefixtures("project")
def test_a_missing_plugin_is_told_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plugins, "search_path", lambda: "")
    assert gen.command(["--messages", "betterproto2", "--package", "acme", "--out", "acme"]) == 1
    assert "pip install 'eventwire[gen,betterproto2]'" in capsys.readouterr().err


@pytest.mark.usefixtures("project")
def test_a_plugin_that_breaks_is_told_without_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    write("one/a.proto", 'syntax = "proto2"; package a; message A { optional group G = 1 {} }')
    assert gen.command(["one", "--messages", "betterproto2", "--package", "acme", "--out", "acme"]) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "NotImplementedError: Unknown type GROUP"
    assert told[1:] == [
        "protoc-gen-python_betterproto2 failed: that is the compiler of the message library, not Eventwire's"
    ]


@pytest.mark.usefixtures("project")
def test_betterproto2_without_ruff_is_told_before_it_breaks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = Path("bin/protoc-gen-python_betterproto2")
    write(str(program), "")
    program.chmod(0o755)
    monkeypatch.setattr(plugins, "search_path", lambda: "bin")
    assert gen.command(["--messages", "betterproto2", "--package", "acme", "--out", "acme"]) == 1
    told = "ruff is not on PATH, which protoc-gen-python_betterproto2 runs: pip install ruff\n"
    assert capsys.readouterr().err == told


def test_a_missing_extra_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gen, "_NEEDED", ("no_such_module",))
    assert gen.command([]) == 2
    assert capsys.readouterr().err == "eventwire gen needs an extra: pip install 'eventwire[gen]'\n"


@pytest.mark.usefixtures("project")
def test_a_folder_that_python_cannot_import_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    write("proto/io/a.proto", 'syntax = "proto3"; package io; message A {}')
    assert gen.command([]) == 0
    assert "folder io/ and Python's own module io exclude each other" in capsys.readouterr().err
    write("proto/jinja2/a.proto", 'syntax = "proto3"; package jinja2; message A {}')
    assert gen.command([]) == 0
    assert "folder jinja2/ and the installed package jinja2 exclude each other" in capsys.readouterr().err


@pytest.mark.usefixtures("project")
def test_a_file_name_may_be_no_ascii() -> None:
    write("proto/größe.proto", 'syntax = "proto3"; message A {}')
    assert gen.command([]) == 0
    assert {"größe_pb2.py", "größe_pb2.pyi"} < names()
    in_a_fresh_interpreter("gen", "from größe_pb2 import A; A()")


@pytest.mark.usefixtures("project")
def test_a_comment_may_be_no_utf_8() -> None:
    topic = 'option (eventwire.v1.topic).name = "a";'
    lines = [
        'syntax = "proto3";',
        'import "eventwire/v1/options.proto";',
        "// caf\xe9",
        "message A {",
        topic,
        "}",
    ]
    path = Path("proto/latin.proto")
    path.write_bytes("\n".join(lines).encode("latin-1"))
    assert gen.command([]) == 0
    for name in ("latin_pb2.pyi", "latin_eventwire.py"):
        assert "caf\ufffd" in Path("gen", name).read_text(encoding="utf-8")


@pytest.mark.usefixtures("project")
def test_a_file_that_protobuf_s_python_cannot_load_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    write(
        "proto/a.proto",
        'syntax = "proto2"; message A { optional string foo_bar = 1; optional string fooBar = 2; }',
    )
    assert gen.command([]) == 0
    assert (
        "proto/a.proto: protobuf's Python cannot load this file: duplicate json_name"
        in capsys.readouterr().err
    )


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("package", ["", "moved_test.gen"])
def test_imports_that_protoc_writes_invalidly_are_mended(package: str) -> None:
    for path in Path("proto").rglob("*.proto"):
        path.unlink()
    write("proto/class/x.proto", 'syntax = "proto3"; package kw; message X {} message None {}')
    write("proto/3rd/odd+one.proto", 'syntax = "proto3"; package odd; message Odd {}')
    write(
        "proto/a/pub.proto",
        'syntax = "proto3"; import public "class/x.proto"; import public "3rd/odd+one.proto";',
    )
    write(
        "proto/a/user.proto",
        'syntax = "proto3"; import "a/pub.proto"; message U { kw.X x = 1; odd.Odd odd = 2; }',
    )
    write("proto/a/feat.proto", 'edition = "2023"; import "google/protobuf/cpp_features.proto"; message F {}')
    write("proto/root.proto", 'syntax = "proto3"; message Root {}')
    write("proto/a/below.proto", 'syntax = "proto3"; import "root.proto"; message Below { Root root = 1; }')
    out = Path("root", *package.split("."))
    assert gen.command(["--out", str(out), *(["--package", package] if package else [])]) == 0
    prefix = f"{package}." if package else ""
    in_a_fresh_interpreter(
        "root",
        f"""
        import importlib
        user = importlib.import_module("{prefix}a.user_pb2")
        importlib.import_module("{prefix}a.feat_pb2")
        importlib.import_module("{prefix}a.below_pb2")
        public = importlib.import_module("{prefix}a.pub_pb2")
        x = importlib.import_module("{prefix}class.x_pb2")
        assert public.X is x.X and getattr(public, "None") is getattr(x, "None")
        assert user.U(x=x.X(), odd=public.Odd()).HasField("x")
        """,
    )
