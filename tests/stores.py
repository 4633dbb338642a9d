"""Servers that tests start beside the embedded one: other kinds, replicas, sentinels, over TLS."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import redis

from jobs.store import connect
from tests.eventually import eventually
from tests.installations import free_port

PASSWORD = "correct horse"


def memory_folder() -> Path | None:
    """A folder in memory, where there is one: a sync costs nothing there, and ms on a disk."""
    memory = Path("/dev/shm")  # noqa: S108 - where there is none, the default serves
    return memory if os.access(memory, os.W_OK) else None


class Server:
    """A Redis or Valkey server on the loopback address, its files in a folder.

    ``tls`` is a folder of certificates (`certificates`); with it nothing else is spoken.
    ``password`` is the server's own and that of the primary that it follows.
    """

    def __init__(
        self,
        binary: Path,
        folder: Path,
        *,
        tls: Path | None = None,
        sentinel: bool = False,
        password: str = PASSWORD,
        **settings: str,
    ) -> None:
        self.port = free_port()
        self._tls = tls
        self._password = password
        self._folder = folder
        self._command = [str(binary), str(folder / "server.conf")] + ["--sentinel"] * sentinel
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        ours = _sentinel_settings() if sentinel else _store_settings(password)
        self._write({**ours, **self._port_settings(), "dir": str(folder), **settings})

    @property
    def url(self) -> str:
        """The server's URL, password included."""
        login = self._password.replace(" ", "%20")
        scheme, query = (
            ("rediss", f"?ssl_ca_certs={self._tls}/ca.pem") if self._tls else ("redis", "")
        )
        return f"{scheme}://:{login}@127.0.0.1:{self.port}/0{query}"

    def start(self) -> Self:
        """Start the server and return once it answers."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        give_up = time.monotonic() + 30
        with contextlib.closing(connect(self.url)) as client:
            while time.monotonic() < give_up:
                with contextlib.suppress(redis.ConnectionError):
                    client.ping()
                    return self
                if self._process.poll() is not None:
                    break
                time.sleep(0.02)
        raise AssertionError((self._folder / "log").read_text()[-2000:])

    def kill(self) -> None:
        """Kill the server, which has no time to write anything."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _port_settings(self) -> dict[str, str]:
        if self._tls is None:
            return {"port": str(self.port)}
        return {
            "port": "0",
            "tls-port": str(self.port),
            "tls-ca-cert-file": f"{self._tls}/ca.pem",
            "tls-cert-file": f"{self._tls}/server.pem",
            "tls-key-file": f"{self._tls}/server.key",
            "tls-auth-clients": "no",
            "tls-replication": "yes",
        }

    def _write(self, settings: Mapping[str, str]) -> None:
        lines = (f"{name.replace('_', '-')} {value}\n" for name, value in settings.items())
        (self._folder / "server.conf").write_text("".join(lines))


def _store_settings(password: str) -> dict[str, str]:
    return {
        "bind": "127.0.0.1",
        "requirepass": f'"{password}"',
        "masterauth": f'"{password}"',
        "appendonly": "yes",
        "appendfsync": "always",
        "save": '""',
        "repl-diskless-sync-delay": "0",
    }


def _sentinel_settings() -> dict[str, str]:
    return {"bind": "127.0.0.1", "requirepass": f'"{PASSWORD}"'}


def certificates(folder: Path) -> Path:
    """Make an authority, and a certificate of 127.0.0.1 by it: ca.pem, server.pem, server.key."""
    folder.mkdir(parents=True)
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    new_key = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    for command in (
        f"{new_key} -x509 -days 2 -subj /CN=ca -keyout ca.key -out ca.pem",
        f"{new_key} -subj /CN=server -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -days 2 -extfile names -out server.pem",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    return folder


@contextlib.contextmanager
def watched(binary: Path, folder: Path, *, tls: bool) -> Iterator[tuple[str, Server]]:
    """Run two servers and a sentinel that watches them; gives their URL and the leading one."""
    trusted = certificates(folder / "tls") if tls else None
    with (
        Server(binary, folder / "leader", tls=trusted) as leader,
        Server(binary, folder / "follower", tls=trusted) as follower,
        Server(binary, folder / "sentinel", tls=trusted, sentinel=True) as sentinel,
    ):
        with contextlib.closing(connect(follower.url)) as client:
            client.execute_command("REPLICAOF", "127.0.0.1", leader.port)
        _watch(sentinel, leader)
        place = sentinel.url.partition("//")[2].partition("?")[0]
        own = "service=jobs&sentinel_password=correct+horse"
        if trusted is None:
            yield f"redis+sentinel://{place}?{own}", leader
        else:
            yield f"rediss+sentinel://{place}?{own}&ssl_ca_certs={trusted}/ca.pem", leader


def _watch(sentinel: Server, leader: Server) -> None:
    with contextlib.closing(connect(leader.url)) as client:
        eventually(lambda: _followed(client), "the follower follows")
    with contextlib.closing(connect(sentinel.url)) as client:
        client.execute_command("SENTINEL", "MONITOR", "jobs", "127.0.0.1", leader.port, 1)
        for name, value in (
            ("auth-pass", PASSWORD),
            ("down-after-milliseconds", 500),
            ("failover-timeout", 3000),
        ):
            client.execute_command("SENTINEL", "SET", "jobs", name, value)
        eventually(
            lambda: client.execute_command("SENTINEL", "REPLICAS", "jobs"), "it is known", 30
        )


def _followed(client: Any) -> bool:
    return bool(client.info("replication").get("slave0", {}).get("state") == "online")
