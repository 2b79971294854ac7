"""Real servers on loopback for tests: Mosquitto in a process of its own, PostgreSQL by pgserver."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from sqlalchemy import create_engine

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/sbin")
OPEN_TO_ALL = """\
listener {port} {host}
allow_anonymous true
max_inflight_messages 5000
max_queued_messages 100000
log_dest stderr
log_type error
"""


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def until(condition: Callable[[], Any], deadline_s: float = 20.0, what: str = "") -> Any:
    """Wait for something to become true and return it.

    Raises:
        AssertionError: it did not by then.
    """
    end = time.monotonic() + deadline_s
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {deadline_s:g} s: {what or condition}"
        time.sleep(0.02)
    return found


def listening(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody accepts connections there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        return probe.connect_ex((host, port)) == 0


class Island:
    """A network of its own at the other end of a cable that can be pulled.

    Raises:
        OSError: nobody but root may make one, and not everywhere.

    Attributes:
        host: an address there.
        within: what runs a command there.
    """

    host = "10.213.7.2"

    def __init__(self) -> None:
        self._name = f"wakeful-{os.getpid()}"
        self._cable = f"wk{os.getpid()}"
        self.within = ("ip", "netns", "exec", self._name)

    def __enter__(self) -> Self:
        self._ip("netns", "add", self._name)
        try:
            far = ("peer", "name", "far", "netns", self._name)
            self._ip("link", "add", self._cable, "type", "veth", *far)
            self._ip("addr", "add", "10.213.7.1/30", "dev", self._cable)
            self._ip("-n", self._name, "addr", "add", f"{self.host}/30", "dev", "far")
            self._ip("-n", self._name, "link", "set", "far", "up")
            self.plug()
        except OSError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._ip("netns", "del", self._name)

    def pull(self) -> None:
        """Nothing arrives any more, and nobody is told."""
        self._ip("link", "set", self._cable, "down")

    def plug(self) -> None:
        """The cable is in again."""
        self._ip("link", "set", self._cable, "up")

    def _ip(self, *words: str) -> None:
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


class Mosquitto:
    """A real broker that can be killed and started again on the same port.

    Args:
        folder: for its configuration.
        config: configuration file's text with `{port}`; default lets everybody in.
        file: a configuration file to start as it is, in place of `config`.
        port: to wait for.
        island: a network of its own to run in, instead of loopback.
    """

    def __init__(
        self,
        folder: Path,
        config: str = OPEN_TO_ALL,
        *,
        file: Path | None = None,
        port: int | None = None,
        island: "Island | None" = None,
    ) -> None:
        assert MOSQUITTO, "install mosquitto (apt-get install mosquitto)"
        self.port = port or free_port()
        self.host = island.host if island else "127.0.0.1"
        self._within = island.within if island else ()
        self.file = file or folder / "mosquitto.conf"
        if file is None:
            self.file.write_text(config.format(host=self.host, port=self.port))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it and wait until it listens."""
        assert MOSQUITTO
        self._process = subprocess.Popen(
            [*self._within, MOSQUITTO, "-c", str(self.file)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: listening(self.port, self.host), what="mosquitto listens")
        return self

    @property
    def pid(self) -> int:
        """The running process."""
        assert self._process
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL: no goodbye, nothing saved."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """A clean end."""
        self._signal(signal.SIGTERM)

    def reload(self) -> None:
        """Read passwords and rules again."""
        assert self._process
        self._process.send_signal(signal.SIGHUP)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(10)
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.kill()


def fast_folder() -> Path | None:
    """Memory, where there is some: a disk that others write to makes a database wait."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2_000_000_000
    return memory if roomy else None


class Postgres:
    """A PostgreSQL of its own, in a folder that goes with it."""

    def __init__(self) -> None:
        self._made: set[str] = set()
        with warnings.catch_warnings():
            # pgserver asks for the user's runtime folder, which a bare container does not have.
            warnings.simplefilter("ignore")
            import pgserver

            self._folder = tempfile.mkdtemp(prefix="wakeful-pg-", dir=fast_folder())
            self._server = pgserver.get_server(self._folder)

    @property
    def binaries(self) -> Path:
        """Where pg_dump and its like are."""
        import pgserver

        return Path(pgserver.__file__).parent / "pginstall" / "bin"

    @property
    def folder(self) -> Path:
        """Its data, and the socket to reach it."""
        return Path(self._folder)

    def database(self, name: str) -> str:
        """The URL of a fresh, empty database."""
        self._server.psql(f'DROP DATABASE IF EXISTS "{name}"')
        self._server.psql(f'CREATE DATABASE "{name}"')
        return f"postgresql+psycopg://postgres:@/{name}?host={self._folder}"

    def empty(self, name: str) -> str:
        """The URL of a database emptied for the next test: far cheaper than a fresh one."""
        url = f"postgresql+psycopg://postgres:@/{name}?host={self._folder}"
        if name not in self._made:
            self._made.add(name)
            return self.database(name)
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
        engine.dispose()
        return url

    @property
    def pid(self) -> int:
        """The postmaster's process."""
        return int((self.folder / "postmaster.pid").read_text().splitlines()[0])

    def close(self) -> None:
        """Stop it and remove its folder."""
        self._server.cleanup()
        with suppress(OSError):
            shutil.rmtree(self._folder)


def pause(pid: int) -> None:
    """SIGSTOP: alive, but it answers nothing."""
    os.kill(pid, signal.SIGSTOP)


def resume(pid: int) -> None:
    """SIGCONT."""
    os.kill(pid, signal.SIGCONT)
