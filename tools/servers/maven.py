"""Jars of a Maven artifact with its runtime dependencies, from the repositories of `mvn`'s settings."""

import shutil
from pathlib import Path

from .cache import cached
from .command import run
from .errors import Unavailable
from .java import find_java

COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"

POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>eventwire</groupId>
  <artifactId>servers</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
{dependencies}
  </dependencies>
</project>
"""

DEPENDENCY = """\
    <dependency>
      <groupId>{0}</groupId>
      <artifactId>{1}</artifactId>
      <version>{2}</version>
      <scope>runtime</scope>
    </dependency>"""


def jars(name: str, *coordinates: str) -> Path:
    """A cached folder with the jars of `group:artifact:version` coordinates and what they need to run."""
    return cached(name, lambda folder: _copy(folder, coordinates))


def _copy(folder: Path, coordinates: tuple[str, ...]) -> None:
    if not shutil.which("mvn"):
        raise Unavailable("install Maven (Debian: maven, Homebrew: maven) to fetch Kafka's jars")
    pom = folder / "pom.xml"
    pom.write_text(_pom(coordinates))
    java_home = str(find_java().resolve().parent.parent)
    goal = [COPY, "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
    run(["mvn", "-B", "-q", "-f", str(pom), *goal], cwd=folder, env={"JAVA_HOME": java_home})


def _pom(coordinates: tuple[str, ...]) -> str:
    return POM.format(dependencies="\n".join(DEPENDENCY.format(*one.split(":")) for one in coordinates))
