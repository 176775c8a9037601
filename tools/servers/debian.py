"""Debian packages unpacked into the user's cache: no root, no service started, the system unchanged."""

import os
import platform
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from .cache import cached
from .command import run
from .errors import Unavailable


def unpacked(package: str, relocate: Callable[[Path], None]) -> Path:
    """A folder with the package, and those of its dependencies that the machine lacks, as under `/`.

    `relocate` gets it once, to mend what names its place under `/` (relative to itself: it will move).
    """
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise Unavailable(f"install {package} (no apt-get here to fetch it with)")
    release = platform.freedesktop_os_release()
    system = f"{release['ID']}{release.get('VERSION_ID', '')}-{platform.machine()}"
    return cached(f"{package}-{system}", lambda folder: _unpack(package, folder, relocate))


def _unpack(package: str, folder: Path, relocate: Callable[[Path], None]) -> None:
    downloads = folder / "downloads"
    downloads.mkdir()
    if os.geteuid() == 0:
        run(["apt-get", "-q", "update"])
    try:
        needed = _missing(package)
        run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *needed], cwd=downloads)
    except Unavailable as error:
        raise Unavailable(f"as root: apt-get update && apt-get install {package} ({error})") from None
    for archive in sorted(downloads.glob("*.deb")):
        run(["dpkg", "-x", str(archive), str(folder)])
    shutil.rmtree(downloads)
    relocate(folder)


def _missing(package: str) -> list[str]:
    """What an installation would add; updates of installed packages ("[version]") are left alone."""
    plan = run(["apt-get", "install", "--simulate", "--no-install-recommends", package])
    return re.findall(r"^Inst (\S+) \(", plan, re.MULTILINE)
