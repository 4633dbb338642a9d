"""The feeder: makes the lines of batches jobs, few at a time, and writes down how these end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import structlog

from api.jobs.request import validated
from api.jobs.routes import submit
from api.jobs.submission import drafted
from api.openai.batch_lines import (
    Asked,
    answered,
    looked_through,
    not_run,
    problem,
    read_line,
    refused,
)
from api.openai.chat_request import ChatCompletion
from api.services import Services
from jobs.background import Background
from jobs.batch import Batch, BatchLine, BatchStatus
from jobs.batches import Ended, Read, Written
from jobs.errors import BatchElsewhere, InvalidRequest, JobsError
from jobs.files import File
from jobs.job import Priority
from jobs.lines import lines

AT_ONCE = 50
"""Lines that one script writes."""
_STEP_S = 0.5
"""How long one batch is fed before another has its turn."""
_LATER_MS = 1_000
"""How long a batch waits whose jobs are not accepted now."""
_IDLE_MS = 60_000
"""How long a batch waits for the end of a job, which wakes it; its window may end before that."""
_LATER = (429, 503)
"""Statuses of errors that the same line may not meet again."""
_GOES_ON = (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS)

_log = structlog.get_logger()


class Feeder(Background):
    """A thread that goes on with batches; several, in as many processes, share them.

    It holds one line and one block of a file in memory, and the answers that it is writing down.
    """

    def __init__(self, parts: Services) -> None:
        self._parts = parts
        super().__init__("feeder")

    def step(self) -> bool:
        """Go on with the batch whose turn it is; False where there is none.

        Raises StoreUnavailable, LedgerFull; another step goes on from there.
        """
        taken = self._parts.batches.take(self._parts.settings.lease_ms)
        if taken is None:
            return False
        batch, now = taken
        wait = _LATER_MS
        try:
            wait = self._go_on(batch, now)
        finally:
            self._parts.batches.pass_on(batch, wait, self._parts.settings.batch_ms)
        return True

    def _run(self) -> None:
        while not self._closed.wait(self._parts.settings.batch_ms / 1000):
            try:
                while not self._closed.is_set() and self.step():
                    pass
            except JobsError as error:
                _log.warning("batch_not_fed", code=error.code)
            except Exception as error:  # noqa: BLE001 - a feeder that dies would strand every batch
                _log.error("batch_not_fed", error=type(error).__name__, exc_info=True)

    def _go_on(self, batch: Batch, now: int) -> int:
        """Do what comes next for a batch; returns in how many ms it is to be looked at again."""
        batches = self._parts.batches
        if now >= batch.expires_at and batch.status in _GOES_ON:
            batches.expire(batch)
            return 0
        file = self._parts.files.get(batch.tenant, batch.input_file)
        if file is None:
            told = "the input file is no longer kept"
            batches.fail(batch, [problem(InvalidRequest(told, code="file_not_found"))])
            return 0
        if batch.status is BatchStatus.VALIDATING:
            self._validate(batch, file)
            return 0
        out, ended = batches.ended(batch, AT_ONCE)
        if ended:
            batches.write(batch, [self._answered(batch, each) for each in ended])
        out -= len(ended)
        try:
            moved = self._move(batch, file, self._parts.settings.batch_jobs - out)
        except InvalidRequest as error:
            # It was looked through when lines might be longer; what was answered stays.
            batches.fail(batch, [problem(error)])
            return 0
        except JobsError as error:
            if error.status not in _LATER:
                raise
            _log.info("batch_waits", batch=batch.id, code=error.code)
            return _LATER_MS
        if not out and not moved:
            moved = batches.settle(batch) is not batch.status
        if ended or moved:
            return 0
        return min(_IDLE_MS, max(0, batch.expires_at - now)) if not batch.stopping else _IDLE_MS

    def _move(self, batch: Batch, file: File, room: int) -> bool:
        """Deal with more of a batch's lines; False where there are none, or there is no room."""
        if not batch.stopping:
            return self._feed(batch, file, room) > 0
        return batch.total is not None and self._write_rest(batch, file) > 0

    def _validate(self, batch: Batch, file: File) -> None:
        text = lines(self._parts.files, file, 0, self._parts.settings.max_body_bytes)
        total, problems = looked_through(text, batch.endpoint)
        if problems:
            self._parts.batches.fail(batch, problems)
        else:
            self._parts.batches.validated(batch, total)

    def _answered(self, batch: Batch, ended: Ended) -> Written:
        try:
            return answered(batch, ended)
        except Exception as error:  # noqa: BLE001 - one line must not hold up its batch for ever
            _log.error("line_failed", batch=batch.id, error=type(error).__name__, exc_info=True)
            told = JobsError("an unexpected error; send it again")
            return refused(batch, ended.number, ended.custom_id, told, ended.job_id)

    def _lines(self, batch: Batch, file: File) -> Iterator[tuple[Asked, BatchLine]]:
        """Yield what is left of an input: each request, and the line that it is."""
        number = after = batch.line
        most = self._parts.settings.max_body_bytes
        for text, offset in lines(self._parts.files, file, batch.offset, most):
            number += 1
            if text.strip():
                asked = read_line(text, batch.endpoint)
                yield asked, BatchLine(batch.id, number, asked.custom_id, after, offset)
                after = number

    def _feed(self, batch: Batch, file: File, room: int) -> int:
        """Make lines jobs, up to ``room`` of them; returns how many lines were dealt with."""
        fed = 0
        until = time.monotonic() + _STEP_S
        try:
            for asked, line in self._lines(batch, file) if room > 0 else ():
                self._feed_line(batch, asked, line)
                fed += 1
                if fed >= room or time.monotonic() > until:
                    break
        except BatchElsewhere:
            pass  # another feeder has it, or it was stopped: the next step sees
        return fed

    def _feed_line(self, batch: Batch, asked: Asked, line: BatchLine) -> None:
        """Make a line a job, or else write down why not.

        Raises BatchElsewhere, or what may be otherwise later.
        """
        try:
            self._submit(batch, asked, line)
        except BatchElsewhere:
            raise
        except JobsError as error:
            if error.status in _LATER:
                raise
            self._write_refused(batch, line, error)
        except Exception as error:  # noqa: BLE001 - one line must not hold up its batch for ever
            _log.error("line_failed", batch=batch.id, error=type(error).__name__, exc_info=True)
            self._write_refused(batch, line, JobsError("an unexpected error; send it again"))

    def _submit(self, batch: Batch, asked: Asked, line: BatchLine) -> None:
        wanted = validated(ChatCompletion, asked.body, strict=True)
        if wanted.stream:
            raise InvalidRequest("a batch does not stream", code="invalid_field", param="stream")
        try:
            with self._parts.tracer.span("accept", tenant=batch.tenant) as context:
                draft = drafted(self._parts, batch.tenant, wanted.to_job())
                draft = replace(draft, priority=Priority.LOW, group=batch.id, trace=context)
                submit(self._parts, replace(draft, batch=line, id=line.job_id))
        except InvalidRequest as error:
            raise wanted.as_told_here(error) from None

    def _write_refused(self, batch: Batch, line: BatchLine, error: JobsError) -> None:
        written = refused(batch, line.number, line.custom_id, error)
        if not self._parts.batches.write(batch, [written], _read(line, line.after)):
            raise BatchElsewhere("this line was dealt with already")

    def _write_rest(self, batch: Batch, file: File) -> int:
        """Write down lines that are not run; returns how many there were."""
        written: list[Written] = []
        for asked, line in islice(self._lines(batch, file), AT_ONCE):
            written.append(not_run(batch, line.number, asked.custom_id))
            read = _read(line, batch.line)
        if written:
            self._parts.batches.write(batch, written, read)
        return len(written)


def _read(line: BatchLine, after: int) -> Read:
    return Read(after, line.number, line.offset)
