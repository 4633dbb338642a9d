"""One data folder, one store: whoever comes second waits, and uses it or says who holds it."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from jobs.keys import Keys
from jobs.store import connect
from llava_jobs.embedded import EmbeddedStore
from llava_jobs.folder import LOCK_FILE, URL_FILE, FolderInUse, is_locked
from tests.eventually import PATIENCE_S, eventually
from tests.installations import COMMAND, Running, environment
from tests.stores import memory_folder

NO_HOME = Path("/nowhere")
OLD, NEW = 70_000, 200
FILL = f"for i = 1, {OLD} do redis.call('SET', 'old' .. i, string.rep('x', 1000)) end"
WRITE = f"""
import sys
from pathlib import Path
from llava_jobs.stores import running_or_started
with running_or_started(Path(sys.argv[1]), "a test") as store:
    for number in range({NEW}):
        store.set(sys.argv[2] + str(number), "x" * 50)
"""
START = """
import sys
from pathlib import Path
from llava_jobs.embedded import EmbeddedStore
with EmbeddedStore(Path(sys.argv[1]), 64):
    print("started")
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder that is not there yet."""
    with TemporaryDirectory(prefix="folder-", dir=memory_folder()) as parent:
        yield Path(parent) / "data"


@pytest.fixture
def served(folder: Path) -> Iterator[EmbeddedStore]:
    """A store that runs on that folder, as `up` runs it."""
    with EmbeddedStore(folder, 64, "llava-jobs up") as store:
        yield store


def command(*words: str, home: Path = NO_HOME, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, what it printed and what it said beside that apart."""
    return subprocess.run(
        [*COMMAND, *words],
        env={**environment(**settings), "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def test_two_that_start_at_once_on_a_large_file_keep_all_that_was_confirmed(folder: Path) -> None:
    with EmbeddedStore(folder, 512) as store, contextlib.closing(connect(store.url)) as client:
        client.eval(FILL, 0)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE, str(folder), name]) for name in ("a", "b")
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    with EmbeddedStore(folder, 512) as store, contextlib.closing(connect(store.url)) as client:
        for name in ("a", "b"):
            assert client.exists(*(f"{name}{number}" for number in range(NEW))) == NEW
        assert client.dbsize() == OLD + 2 * NEW


def test_a_second_server_is_refused_in_one_line_that_names_the_first(
    served: EmbeddedStore, folder: Path
) -> None:
    with pytest.raises(FolderInUse) as refused:
        EmbeddedStore(folder, 64).start()
    line = f"llava-jobs up (process {os.getpid()}) holds {folder}"
    assert str(refused.value).startswith(line)
    assert "--data-dir" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_folder_is_held_from_before_the_server_loads_until_it_has_ended(
    served: EmbeddedStore, folder: Path
) -> None:
    (folder / URL_FILE).unlink()  # as while it loads
    os.kill(served.pid, signal.SIGSTOP)
    with pytest.raises(FolderInUse):
        EmbeddedStore(folder, 64).start(patience_s=0)
    os.kill(served.pid, signal.SIGKILL)
    eventually(lambda: not served.alive(), "the server ends")
    assert not is_locked(folder)
    with EmbeddedStore(folder, 64) as next_one:
        assert is_locked(folder)
    assert not next_one.alive()
    assert not is_locked(folder)


def test_the_server_of_a_version_without_a_lock_is_noticed(
    served: EmbeddedStore, folder: Path
) -> None:
    (folder / LOCK_FILE).unlink()
    with pytest.raises(FolderInUse):
        EmbeddedStore(folder, 64).start()


def test_a_command_waits_for_a_store_that_loads_and_uses_it(
    served: EmbeddedStore, folder: Path
) -> None:
    url = (folder / URL_FILE).read_text()
    (folder / URL_FILE).unlink()
    waiting = Running([*COMMAND, "keys", "list", "--data-dir", str(folder)], environment())
    try:
        waiting.line(f"^waiting for the store of {folder}")
        (folder / URL_FILE).write_text(url)
        assert waiting.status() == 0, waiting.text
    finally:
        waiting.end()
    assert f"store: the running one of {folder}" in waiting.text


def test_a_start_waits_for_a_server_that_is_about_to_end(folder: Path) -> None:
    with EmbeddedStore(folder, 64, "a command", is_shared=False) as first:
        waiting = Running([sys.executable, "-c", START, str(folder)], environment())
        try:
            waiting.line(f"^waiting until {folder} is free")
            first.stop()
            waiting.line("^started$")
            assert waiting.status() == 0
        finally:
            waiting.end()


def test_a_start_that_waits_can_be_stopped(folder: Path) -> None:
    with (
        EmbeddedStore(folder, 64, "a command", is_shared=False),
        pytest.raises(FolderInUse, match="a command"),
    ):
        EmbeddedStore(folder, 64).start(patience_s=3600, is_stopped=lambda: True)


def test_a_command_tells_which_store_it_spoke_to(served: EmbeddedStore, folder: Path) -> None:
    by_folder = command("keys", "create", data_dir=str(folder))
    assert by_folder.stderr == f"store: the running one of {folder}\n"
    by_url = command("keys", "create", redis_url=served.url)
    assert by_url.stderr == f"store: redis://127.0.0.1:{served.port}/0 (LLAVA_JOBS_REDIS_URL)\n"
    with contextlib.closing(connect(served.url)) as client:
        for made in (by_folder, by_url):
            assert Keys(client).identify(made.stdout.strip()).tenant == "default"


def test_a_key_can_be_made_before_the_first_start_on_a_folder_that_is_named(folder: Path) -> None:
    made = command("keys", "create", "--data-dir", str(folder))
    assert made.stderr == f"store: that of {folder}, a new folder\n"
    assert command("keys", "create", data_dir=str(folder)).stderr == (
        f"store: that of {folder}, where no server runs\n"
    )
    with EmbeddedStore(folder, 64) as store, contextlib.closing(connect(store.url)) as client:
        assert Keys(client).identify(made.stdout.strip()).tenant == "default"


READERS = [
    ("keys", "list"),
    ("tenants", "list"),
    ("intake", "show"),
    ("workers", "list"),
    ("failures", "count"),
    ("failures", "list", "error"),
    ("failures", "retry", "error"),
    ("workers", "drain", "gpu-1"),
]


@pytest.mark.parametrize("words", READERS, ids=" ".join)
def test_a_command_that_needs_an_installation_starts_no_store_where_none_runs(
    folder: Path, words: tuple[str, ...]
) -> None:
    refused = command(*words, "--data-dir", str(folder))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.count("\n") == 1
    for word in (f"runs on {folder}", "llava-jobs up", "--data-dir", "LLAVA_JOBS_DATA_DIR"):
        assert word in refused.stderr
    assert not folder.exists()


def test_a_key_is_not_made_in_a_folder_that_nobody_named(tmp_path: Path) -> None:
    refused = command("keys", "create", home=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"runs on {tmp_path}" in refused.stderr
    assert "LLAVA_JOBS_DATA_DIR" in refused.stderr
    assert list(tmp_path.iterdir()) == []
