"""The compiler plugins that make the message classes of each backend."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from eventwire_gen.backends import BETTERPROTO, BETTERPROTO2, Backend
from eventwire_gen.faults import Refused

# The services of betterproto2 need grpc, which events do not.
_PLUGINS: Mapping[str, tuple[str, Sequence[str]]] = {
    BETTERPROTO.name: ("python_betterproto", ()),
    BETTERPROTO2.name: ("python_betterproto2", ("--python_betterproto2_opt=client_generation=none",)),
}


def languages(backend: Backend) -> Mapping[str, Sequence[str]]:
    """Return protoc's outputs for ``backend`` with their arguments; raises Refused if its plugin is not installed."""
    if backend.name not in _PLUGINS:
        return {"python": ()}
    language, options = _PLUGINS[backend.name]
    program = f"protoc-gen-{language}"
    found = shutil.which(program, path=search_path())
    if found is None:
        raise Refused(f"{program} is not installed: pip install 'eventwire[gen,{backend.name}]'")
    if backend is BETTERPROTO2 and shutil.which("ruff", path=search_path()) is None:
        raise Refused(f"ruff is not on PATH, which {program} runs: pip install ruff")
    return {language: (f"--plugin={program}={found}", *options)}


def search_path() -> str:
    """Return where programs of this Python's environment are found, activated or not."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
