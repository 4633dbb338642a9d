"""The fault suite: `python -m tests.faults`."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import click

from tests.faults.cluster import Cluster
from tests.faults.faults import FAULTS
from tests.faults.trial import Trial


@click.command()
@click.option("--seed", default=1)
@click.option("--fault", "names", multiple=True, type=click.Choice(list(FAULTS)))
@click.option("--jobs", default=120)
@click.option("--rate", default=40.0)
def main(seed, names, jobs, rate):
    shm = Path("/dev/shm")
    trial = Trial(seed, tuple(FAULTS[n] for n in names), jobs, rate)
    print(trial.command)
    with tempfile.TemporaryDirectory(prefix="faults-", dir=shm) as folder:
        t = time.monotonic()
        with Cluster(Path(folder)) as cluster:
            cluster.ready()
            print("ready", time.monotonic() - t)
            try:
                verdict = trial.run(cluster)
            finally:
                if os.environ.get("SAY"):
                    for m in (*cluster.workers, *cluster.apis):
                        m.end()
                        print("=====", m.name)
                        print("\n".join(m.said))
            print("ran", time.monotonic() - t)
        print(verdict)


main()
