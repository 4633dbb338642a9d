"""A program that starts a store on a folder, as a second `llava-jobs up` does.

`python -m tests.faults.second_start FOLDER` says that it has started and rewrites the append-only
file, as every store does once the file has grown.
"""

from __future__ import annotations

import sys
from pathlib import Path

from jobs.errors import ConfigurationError
from jobs.store import connect
from llava_jobs.embedded import EmbeddedStore
from tests.eventually import eventually


def main() -> None:
    """Start a store on the folder that is named, write to it, and stop it."""
    try:
        with EmbeddedStore(Path(sys.argv[1])) as store:
            print("started", flush=True)
            client = connect(store.url)
            client.bgrewriteaof()
            eventually(lambda: not client.info()["aof_rewrite_in_progress"], "it is rewritten", 60)
    except ConfigurationError as error:
        sys.exit(error.message)


if __name__ == "__main__":
    main()
