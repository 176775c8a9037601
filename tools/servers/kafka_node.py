"""Apache Kafka from Maven Central: one node in KRaft mode, broker and controller in one process."""

import shlex
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from .java import find_java
from .maven import jars
from .options import Options
from .probe import kafka_ready
from .process import Program, Supervised, environment, free_ports
from .server import Node, Server

VERSION = "4.3.1"
SLF4J = "1.7.36"  # the slf4j-api that this Kafka depends on; without a binding it logs nothing
START_WITHIN = 60.0
CLUSTER_ID = "ZXZlbnR3aXJlLXRlc3RzIQ"  # any 16 bytes in URL-safe base64

JVM = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)

# broker.session.timeout.ms: after SIGKILL the controller refuses the broker until its old session has ended.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}{listeners}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}{advertised}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,BEHIND:PLAINTEXT,TLS:SASL_SSL
inter.broker.listener.name=PLAINTEXT
log.dirs={folder}/data
log.cleaner.dedupe.buffer.size=16777216
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
"""

TLS = """\
listener.name.tls.ssl.keystore.type=PEM
listener.name.tls.ssl.keystore.location={folder}/keystore.pem
listener.name.tls.sasl.enabled.mechanisms=PLAIN
listener.name.tls.plain.sasl.jaas.config=\
 org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
"""


def fetch() -> tuple[Path, Path]:
    """`java` and the folder of jars; downloads the jars (44 MB) when they are not in the cache."""
    server, binding = f"org.apache.kafka:kafka_2.13:{VERSION}", f"org.slf4j:slf4j-simple:{SLF4J}"
    return find_java(), jars(f"kafka-{VERSION}", server, binding)


@contextmanager
def node(options: Options) -> Generator[Server]:
    """A private node. Raises Unavailable and StartFailed."""
    java, libraries = fetch()
    broker, controller, tls, behind = free_ports(4)
    with Supervised("kafka") as supervised:
        folder, urls = supervised.folder, _urls(options, tls, behind)
        properties = PROPERTIES.format(
            broker=broker, controller=controller, folder=folder, **_listeners(options, tls, behind)
        )
        (folder / "server.properties").write_text(properties + _tls(options, folder))
        program = Program(
            ["sh", "-ec", _script(java, libraries, folder)], environment(), lambda: kafka_ready(broker)
        )
        ours = Node(supervised, program, START_WITHIN)
        server = Server(f"kafka://127.0.0.1:{broker}", f"Apache Kafka {VERSION}", ours, urls)
        server.start()
        yield server


def _urls(options: Options, tls: int, behind: int) -> dict[str, str]:
    asked = {
        "tls": f"kafka+ssl://localhost:{tls}" if options.tls else None,
        "behind": f"kafka://127.0.0.1:{behind}" if options.advertised else None,
    }
    return {name: url for name, url in asked.items() if url}


def _listeners(options: Options, tls: int, behind: int) -> dict[str, str]:
    """What `listeners` and `advertised.listeners` have beside the plain ones. Certificates are for `localhost`."""
    listeners, advertised = "", ""
    if options.tls:
        listeners += f",TLS://127.0.0.1:{tls}"
        advertised += f",TLS://localhost:{tls}"
    if options.advertised:
        listeners += f",BEHIND://127.0.0.1:{behind}"
        advertised += f",BEHIND://127.0.0.1:{options.advertised}"
    return {"listeners": listeners, "advertised": advertised}


def _tls(options: Options, folder: Path) -> str:
    if (tls := options.tls) is None:
        return ""
    (folder / "keystore.pem").write_text(tls.key.read_text() + tls.certificate.read_text())
    return TLS.format(folder=folder, user=tls.username, password=tls.password)


def _script(java: Path, libraries: Path, folder: Path) -> str:
    """Formats the storage the first time, then becomes the server. Native libraries unpack there."""
    flags = [*JVM, f"-Djava.io.tmpdir={folder}", "-cp", f"{libraries}/*"]
    run = shlex.join([str(java), *flags])
    return (
        f"[ -e data/meta.properties ] ||"
        f" {run} kafka.tools.StorageTool format -t {CLUSTER_ID} -c server.properties\n"
        f"exec {run} kafka.Kafka server.properties"
    )
