"""Packages of another Debian release, unpacked beside everything that they need and run on their own C library."""

import platform
import re
import shutil
from pathlib import Path

from .cache import cached
from .command import run
from .errors import Unavailable

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_ELF = b"\x7fELF"

# Programs of a newer release want a newer loader than the machine's, and their libraries beside it.
_WRAPPER = """\
#!/bin/sh
here=$(readlink -f "$0")
root=${{here%/{place}}}
exec "$root/{loader}" --library-path "$root/{libraries}" --argv0 "$0" "$here.elf" "$@"
"""


def unpacked(package: str, suite: str, programs: str) -> Path:
    """A folder with the package of that release and all its dependencies, as under `/`.

    `programs` is the folder whose programs shall run from there. Raises Unavailable.
    """
    if not shutil.which("apt-get") or not shutil.which("dpkg") or not Path(_KEYRING).exists():
        raise Unavailable(f"{package} of Debian {suite} is fetched on Debian only")
    return cached(
        f"{package}-{suite}-{platform.machine()}", lambda folder: _unpack(package, suite, programs, folder)
    )


def _unpack(package: str, suite: str, programs: str, folder: Path) -> None:
    work = folder / "apt"
    env = {"APT_CONFIG": str(_configuration(work, suite))}
    run(["apt-get", "-q", "update"], env=env)
    plan = run(["apt-get", "install", "--simulate", "--no-install-recommends", package], env=env)
    needed = re.findall(r"^Inst (\S+) \(", plan, re.MULTILINE)
    run(["apt-get", "-q", "download", *needed], cwd=work, env=env)
    for archive in sorted(work.glob("*.deb")):
        run(["dpkg", "-x", str(archive), str(folder)])
    shutil.rmtree(work)
    _wrap(folder, folder / programs)


def _configuration(work: Path, suite: str) -> Path:
    """An apt of its own: the machine's mirror, one release, nothing installed."""
    for below in ("state/lists/partial", "cache/archives/partial"):
        (work / below).mkdir(parents=True)
    (work / "state/status").touch()
    sources = work / "sources.list"
    sources.write_text(f"deb [signed-by={_KEYRING}] {_mirror()} {suite} main\n")
    configuration = work / "apt.conf"
    settings = {
        "Dir::State": work / "state",
        "Dir::State::status": work / "state/status",
        "Dir::Cache": work / "cache",
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "-",
        "APT::Sandbox::User": "root",
    }
    configuration.write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
    return configuration


def _mirror() -> str:
    """Where the machine gets its own release from."""
    listing = run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"])
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    for line in listing.splitlines():
        uri, _, name = line.rpartition(" ")
        if name == release:
            return uri
    raise Unavailable("apt has no source of the machine's own Debian release")


def _wrap(root: Path, programs: Path) -> None:
    libraries = next(root.glob("usr/lib/*-linux-gnu"), None)
    loader = next(libraries.glob("ld-linux-*.so.*"), None) if libraries else None
    if libraries is None or loader is None:
        raise Unavailable(f"no C library among what was unpacked: {root}")
    for program in [
        *programs.glob("erts-*/bin/*"),
        *programs.glob("bin/*"),
        *programs.glob("lib/*/priv/bin/*"),
    ]:
        if program.is_file() and not program.is_symlink() and program.read_bytes()[:4] == _ELF:
            program.rename(program.with_name(f"{program.name}.elf"))
            text = _WRAPPER.format(
                place=program.relative_to(root),
                loader=loader.relative_to(root),
                libraries=libraries.relative_to(root),
            )
            program.write_text(text)
            program.chmod(0o755)
