"""The step of a starting worker that loads the model before anything is consumed."""

from __future__ import annotations

import atexit
import gc
import os
import secrets
import socket
import sys
from contextlib import ExitStack
from typing import Any

from celery import bootsteps
from celery.worker import state

from jobs.changes import ORDERS, Changes
from jobs.errors import ConfigurationError, JobsError
from jobs.hints import Hints
from jobs.image_store import ImageStore
from jobs.ledger import Ledger, Limits
from jobs.pieces import Pieces
from jobs.pulse import Pulse
from jobs.settings import Settings
from jobs.store import connect, inspect
from jobs.sweeper import sweeper
from jobs.tracing import tracer
from worker.account import Account
from worker.engine import EngineError
from worker.engine.serving import Serving
from worker.leases import Leases
from worker.metrics import MetricsServer, WorkerMetrics, facts
from worker.narrator import Narrator
from worker.policy import load_guard
from worker.tasks import Desk
from worker.watchdog import Patience, Watchdog

_LOOK_S = 0.2
_UNSAID = ("without_mingle", "without_gossip", "without_heartbeat")


class EngineStep(bootsteps.StartStopStep):
    """Loads the engine and keeps what stands around it.

    Consumer is the last step of a worker, so nothing is consumed before the model is warm; and the
    first to stop, so that this step's stop is the drain: it waits for running jobs, hands back the
    rest, and only then lets their leases go.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._settings: Settings = parent.app.settings
        # Our workers have nothing to tell each other: a hello would wait for answers for a second.
        parent.options |= dict.fromkeys(_UNSAID, True)

    def start(self, parent: Any) -> None:
        """Load the model; a failure ends the process with one line that says why."""
        # Collecting all of torch once more at the end would take longer than the end itself.
        atexit.register(gc.freeze)
        try:
            self._start(parent)
        except (JobsError, EngineError) as error:
            # Past Celery, which would put a time and a level before the line.
            print(f"llava-jobs worker: {error}", file=sys.__stderr__, flush=True)
            broken = isinstance(error, ConfigurationError | EngineError)
            raise SystemExit(os.EX_CONFIG if broken else os.EX_SOFTWARE) from None

    def close(self, parent: Any) -> None:
        """Claim no further jobs."""
        del parent
        self._desk.claims.stop()

    def stop(self, parent: Any) -> None:
        """Let running jobs end within the grace period, hand back the rest, and leave."""
        del parent
        self._watchdog.close()
        self._pulse.end()
        self._desk.wait(self._settings.drain_seconds)
        self._orders.close()
        self._narrator.close()
        self._sweeper.close()
        self._leases.close()
        self._engine.close()
        self._told.close()

    def terminate(self, parent: Any) -> None:
        """Stop as on a drain: leases must not be left to expire."""
        self.stop(parent)

    def _heard(self, job_id: str, word: str, tenant: str) -> None:
        self._leases.heard(job_id, word, tenant)
        self._narrator.heard(job_id, word, tenant)

    def _start(self, parent: Any) -> None:
        settings = self._settings
        self._pulse = Pulse(settings.pulse_file)
        guard = load_guard(settings)
        client = connect(settings.required_redis_url)
        server = inspect(client, settings.durability)
        ledger = Ledger(client, Limits.from_settings(settings), durability=server.durability)
        model = settings.served_model
        # In a container every process is number 1: the rest tells a worker from the one before it.
        worker = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        engine: Serving = parent.app.load_engine(settings)
        self._engine = engine
        self._told = ExitStack()  # what is told of the worker beside the ledger
        tracing = tracer(settings, "worker")
        self._told.callback(tracing.close)
        metrics = WorkerMetrics(engine)
        if settings.metrics_port:
            shown = MetricsServer(metrics.registry, settings.metrics_port)
            self._told.callback(shown.close)
        self._leases = Leases(
            *(ledger, model, worker, settings.renew_ms, lambda: facts(engine)),
            on_drain=lambda drained: self._desk.claims.rest(drained),
        )
        self._narrator = Narrator(Pieces(client))
        self._desk = Desk(
            *(ledger, ImageStore(client), engine, self._leases, self._narrator),
            *(model, worker, _give_up),
            guard=guard,
            account=Account(worker, tracing, metrics.answered),
        )
        self._orders = Changes(client, self._heard, ORDERS)
        hints = Hints(parent.app, client)
        self._sweeper = sweeper(ledger, hints, settings)
        patience = Patience(
            settings.step_stall_seconds, settings.claim_stall_seconds, settings.drain_seconds
        )
        self._watchdog = Watchdog(
            *(engine, self._desk, self._leases, ledger, hints, model, patience),
            beat=self._pulse.beat,
        )
        parent.app.desk = self._desk
        self._leases.start()
        self._narrator.start()
        self._orders.start()
        self._sweeper.start()
        self._watchdog.start()
        # Celery's loop sees that it is to end when something wakes it, else once a second.
        parent.timer.call_repeatedly(_LOOK_S, lambda: None)


def _give_up() -> None:
    """End the worker after its running tasks: the event loop looks at this at every turn."""
    state.should_stop = os.EX_SOFTWARE
