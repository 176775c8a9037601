"""Who may import whom, and how large things may get (docs/architecture.md)."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import quantiles

import eventwire

ROOT = Path(__file__).parent.parent
SOURCES = {"eventwire": ROOT / "runtime", "eventwire_gen": ROOT / "generator"}
VOCABULARY = "eventwire.v1.options_pb2"
STDLIB_ONLY = ("eventwire.message", "eventwire.errors")
# A transport knows bytes, keys, headers and acknowledgements, nothing of events.
TRANSPORTS_MAY_USE = (
    *("message", "transport", "transports", "errors"),  # the contract
    *(
        "deadline",
        "driver_logs",
        "ids",
        "keys",
        "log",
        "offsets",
        "partition",
        "policy",
        "tls",
        "url",
    ),  # plain helpers without events
)
BASE_INSTALL = {"eventwire", "google", "typing_extensions"}


@dataclass(frozen=True)
class Module:
    """A source file, by the name it is imported by."""

    name: str
    path: Path

    @property
    def package(self) -> str:
        """What a relative import starts from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]


def _modules() -> Iterator[Module]:
    for package, root in SOURCES.items():
        for path in sorted((root / package).rglob("*.py")):
            if path.name != "options_pb2.py":
                parts = path.relative_to(root).with_suffix("").parts
                yield Module(".".join(parts[:-1] if parts[-1] == "__init__" else parts), path)


MODULES = {module.name: module for module in _modules()}


@cache
def imports(module: Module, *, at_import_time: bool = False) -> frozenset[str]:
    """Full names of what it imports: `a.b` for `from a import b` where that is a module of ours, else `a`."""
    tree = ast.parse(module.path.read_text())
    nodes = _executed(tree) if at_import_time else ast.walk(tree)
    return frozenset(name for node in nodes for name in _names(module, node))


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """Everything but function bodies and what stands under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from _executed(node)


def _names(module: Module, node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parents = module.package.split(".")
            base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [base])])
        for alias in node.names:
            full = f"{base}.{alias.name}"
            yield full if full in MODULES or full == VOCABULARY else base


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def _of(package: str) -> list[Module]:
    return [module for module in MODULES.values() if _within(module.name, package)]


def test_there_is_something_to_look_at() -> None:
    assert {"eventwire", "eventwire.message", "eventwire.transports", "eventwire_gen"} <= MODULES.keys()


def test_messages_and_errors_need_the_standard_library_only() -> None:
    used = {name for module in STDLIB_ONLY for name in imports(MODULES[module])}
    assert {name for name in used if name.split(".")[0] not in sys.stdlib_module_names} <= {*STDLIB_ONLY}


def test_transports_know_no_events() -> None:
    assert {
        module.name: strange
        for module in _of("eventwire.transports")
        if (strange := [name for name in _ours(module) if not _allowed_to_transports(name)])
    } == {}


def test_transports_do_not_know_each_other() -> None:
    assert {
        module.name: others
        for module in _of("eventwire.transports")
        if (others := [name for name in _ours(module) if _family(name) not in {"", _family(module.name)}])
    } == {}


def _ours(module: Module) -> list[str]:
    return sorted(name for name in imports(module) if _within(name, "eventwire"))


def _allowed_to_transports(name: str) -> bool:
    return any(_within(name, f"eventwire.{allowed}") for allowed in TRANSPORTS_MAY_USE)


def _family(name: str) -> str:
    """`kafka` of eventwire.transports.kafka, .kafka.admin and .kafka_admin; else nothing."""
    _, _, transport = name.partition("eventwire.transports.")
    return transport.split(".")[0].lstrip("_").split("_")[0]


def test_generator_and_runtime_share_the_vocabulary_only() -> None:
    runtime, generator = ([imports(module) for module in _of(package)] for package in SOURCES)
    assert {name for used in runtime for name in used if _within(name, "eventwire_gen")} == set()
    assert {name for used in generator for name in used if _within(name, "eventwire")} <= {VOCABULARY}


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {name: imports(module, at_import_time=True) & MODULES.keys() for name, module in MODULES.items()}
    seen: set[str] = set()

    def walk(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        if name not in seen:
            for target in sorted(graph[name] - {name}):
                walk(target, (*way, name))
            seen.add(name)

    for name in graph:
        walk(name, ())


def test_importing_eventwire_imports_no_driver_and_no_extra() -> None:
    code = "import sys; before = {*sys.modules}; import eventwire; print(*({*sys.modules} - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert loaded - sys.stdlib_module_names - BASE_INSTALL == set()


def test_all_names_what_the_package_offers() -> None:
    tree = ast.parse(MODULES["eventwire"].path.read_text())
    bound = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
    }
    public: list[str] = getattr(eventwire, "__all__", [])
    assert {name for name in bound if not name.startswith("_")} == {*public} - {"__version__"}
    assert [name for name in public if not hasattr(eventwire, name)] == []


def test_functions_stay_short() -> None:
    lengths = [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for module in MODULES.values()
        for node in ast.walk(ast.parse(module.path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    percentiles = quantiles(lengths, n=100)
    assert percentiles[49] <= 10
    assert percentiles[94] < 50


def test_files_stay_within_one_concern() -> None:
    lengths = {module.name: len(module.path.read_text().splitlines()) for module in MODULES.values()}
    assert {name: length for name, length in lengths.items() if length > 400} == {}
