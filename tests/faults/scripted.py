"""The real worker with an engine that does as questions say: `celery -A tests.faults.scripted`."""

from __future__ import annotations

import heapq
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from celery.signals import task_postrun

from jobs.settings import Settings
from tests.faults.script import ACTED, Act, Script, answer_to
from worker.app import create_app
from worker.engine.counts import Counts
from worker.engine.errors import EngineClosed, EngineFailed, OutOfMemory
from worker.engine.requests import FinishReason, Request, Result, Timing

_doomed = threading.local()


class ScriptedHandle:
    """A running request."""

    def __init__(self, request: Request, engine: ScriptedEngine) -> None:
        [*_, question] = request.conversation[-1].parts
        assert isinstance(question, str)
        assert request.pictures, "every job shows a picture"
        assert all(picture.data for picture in request.pictures)
        self.future: Future[Result] = Future()
        self.request = request
        self.question = question
        self.script = Script.of(question)
        self.due = time.monotonic() + self.script.milliseconds / 1000
        self.canceled = False
        self._engine = engine
        self._on_text: Callable[[str], object] = lambda _: None

    def cancel(self) -> None:
        """Stop at the next step."""
        self.canceled = True
        self._engine.wake()

    def listen(self, on_text: Callable[[str], object]) -> None:
        """Hear the answer, which comes in one piece."""
        self._on_text = on_text

    def end(self, reason: FinishReason) -> None:
        """Answer as far as it goes."""
        text = answer_to(self.question, self.request.scope) if reason == "stop" else ""
        self._on_text(text)
        self.future.set_result(Result(text, (), 1, 0, 1, reason, Timing()))


class ScriptedEngine:
    """Answers each question when its time has come; one thread steps, as in the real engine."""

    def __init__(self, slots: int, acted: Path) -> None:
        self.slots = slots
        self.waiting = 0
        self._acted = acted
        self._batch: list[tuple[float, int, ScriptedHandle]] = []
        self._number = 0
        self._hung_since: float | None = None
        self._broken = False
        self._turn = threading.Condition()
        threading.Thread(target=self._run, name="engine", daemon=True).start()

    @property
    def running(self) -> int:
        """Requests in the batch."""
        return len(self._batch)

    @property
    def step_age(self) -> float:
        """Seconds that the current step has taken."""
        since = self._hung_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def counts(self) -> Counts:
        """It reads and generates nothing."""
        return Counts()

    @property
    def memory(self) -> None:
        """It has no GPU."""

    def submit(self, request: Request) -> ScriptedHandle:
        """Start to answer, in the thread of the task."""
        handle = ScriptedHandle(request, self)
        if self._acts(handle.script, Act.RAISE_MEMORY_ERROR):
            raise MemoryError
        if self._acts(handle.script, Act.DIE_UNACKNOWLEDGED):
            _doomed.yes = True
        with self._turn:
            if self._broken:
                raise EngineClosed("the engine has failed before")
            self._number += 1
            due = min(handle.due, request.deadline or handle.due)
            heapq.heappush(self._batch, (due, self._number, handle))
            self._turn.notify()
        return handle

    def wake(self) -> None:
        """Look at the batch again."""
        with self._turn:
            self._turn.notify()

    def close(self) -> None:
        """Take nothing more."""
        self._broken = True

    def _run(self) -> None:
        while True:
            with self._turn:
                for handle in self._step():
                    self._end(handle)
                left = self._batch[0][0] - time.monotonic() if self._batch else None
                if left is None or left > 0:
                    self._turn.wait(left)

    def _step(self) -> list[ScriptedHandle]:
        now = time.monotonic()
        due = [handle for at, _, handle in self._batch if at <= now or handle.canceled]
        self._batch = [entry for entry in self._batch if entry[2] not in due]
        heapq.heapify(self._batch)
        return due

    def _end(self, handle: ScriptedHandle) -> None:
        script = handle.script
        deadline = handle.request.deadline
        if handle.canceled:
            handle.end("canceled")
        elif deadline is not None and deadline <= time.monotonic():
            handle.end("deadline")
        elif self._acts(script, Act.DIE):
            os.kill(os.getpid(), signal.SIGKILL)
        elif self._acts(script, Act.HANG):
            self._hung_since = time.monotonic()
            threading.Event().wait()
        elif self._acts(script, Act.RUN_OUT_OF_MEMORY):
            handle.future.set_exception(OutOfMemory("no memory left for this job"))
        elif self._acts(script, Act.FAIL):
            self._broken = True
            for failed in (handle, *(entry[2] for entry in self._batch)):
                failed.future.set_exception(EngineFailed("a sticky error of the device"))
            self._batch = []
        else:
            handle.end("stop")

    def _acts(self, script: Script, act: Act) -> bool:
        """Whether a script is to do this now; one of few times leaves a note at each."""
        if script.act is not act:
            return False
        if script.times == 0:
            return True
        for time_ in range(script.times):
            note = self._acted / f"{script.number}-{act}-{time_}"
            try:
                note.touch(exist_ok=False)
            except FileExistsError:
                continue
            return True
        return False


class Scripted:
    """Where a scripted worker has its engine from."""

    def slots(self, settings: Settings) -> int:
        """As many as are set."""
        return settings.slots or 8

    def load_engine(self, settings: Settings) -> ScriptedEngine:
        """A new one, at once."""
        return ScriptedEngine(self.slots(settings), Path(os.environ[ACTED]))


@task_postrun.connect(weak=False)
def _die_unacknowledged(**_: Any) -> None:
    if getattr(_doomed, "yes", False):
        os.kill(os.getpid(), signal.SIGKILL)


app = create_app(Settings(), Scripted())
