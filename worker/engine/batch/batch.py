"""The running batch: requests with their pages, advanced by one step at a time."""

import logging
import threading
from collections.abc import Sequence

import torch

from worker.engine.batch.pages import Pages
from worker.engine.batch.runner import Runner, Step
from worker.engine.batch.running import Running
from worker.engine.batch.sampling import Sampling
from worker.engine.batch.scheduling import next_chunks
from worker.engine.counts import Counts
from worker.engine.limits import Resolved

log = logging.getLogger(__name__)

CALM_STEPS = 256


class Batch:
    """Holds running requests and advances all of them by one step at a time.

    A request has the pages for its prompt and its longest answer from the start, so none is ever
    preempted. One thread owns it; any may read its `counts`.
    """

    def __init__(self, runner: Runner, limits: Resolved) -> None:
        """Take the runner of a model whose cache has `runner.pages` pages."""
        self._runner = runner
        self._limits = limits
        self._slots = limits.slots
        self._step_tokens = limits.step_tokens
        self._calm = 0
        self._pages = Pages(runner.pages, limits.page_tokens)
        self._seats = list(range(limits.slots - 1, -1, -1))
        self._running: dict[str, Running] = {}
        self._launched: Step | None = None
        self._ended = Counts()
        self._counting = threading.Lock()

    def __len__(self) -> int:
        return len(self._running)

    @property
    def counts(self) -> Counts:
        """The tokens of all requests so far; counted when asked for, which slows no step."""
        with self._counting:
            return sum((running.counts for running in self._running.values()), self._ended)

    @property
    def capacity_tokens(self) -> int:
        """The most tokens, prompt and answer together, that one request may have."""
        return self._pages.count * self._pages.size

    def fits(self, tokens: int) -> bool:
        """Whether a request of so many tokens, prompt and answer together, may join now."""
        return len(self._running) < self._slots and self._pages.needed(tokens) <= self._pages.free

    def shares_unfinished_prefix(self, ids: Sequence[int]) -> bool:
        """Whether a running request is still reading pages that this prompt begins with, too.

        If so it pays to wait: once read, the common pages are found in the cache.
        """
        page = self._pages.size
        readers = [
            other.ids
            for other in self._running.values()
            if not other.tokens and other.ids[:page] == ids[:page]
        ]
        if not readers:  # the rule, and matching a prompt compares all of it
            return False
        end = (len(self._pages.match(ids)) + 1) * page
        return end < len(ids) and any(reader[:end] == ids[:end] for reader in readers)

    def add(
        self, id_: str, ids: list[int], max_new_tokens: int, eos: frozenset[int], draw: Sampling
    ) -> Running:
        """Let a request join that `fits`."""
        pages, shared = self._pages.take(ids, len(ids) + max_new_tokens)
        cached = shared * self._pages.size
        seat = self._seats.pop()
        self._runner.seat(seat, pages, draw)
        running = Running(id_, ids, max_new_tokens, eos, draw, seat, pages, cached, cached)
        with self._counting:
            self._running[id_] = running
        return running

    def remove(self, running: Running) -> None:
        """Take a request out, finished or not; its whole pages stay findable."""
        if running.id not in self._running:
            return
        with self._counting:
            self._ended += running.counts
            del self._running[running.id]
        # The key of the last token is written by the step after it.
        known = [*running.ids[: running.read], *running.tokens[:-1]]
        self._pages.remember(known, running.pages)
        self._pages.give_back(running.pages)
        self._seats.append(running.seat)

    def shrink(self) -> bool:
        """Halve slots and step; False where both are as small as they can be.

        Both double again after each `CALM_STEPS` calls of `grow`.
        """
        slots, step = max(1, self._slots // 2), max(self._pages.size, self._step_tokens // 2)
        if (slots, step) == (self._slots, self._step_tokens):
            return False
        log.warning("out of memory: from now on %d slots, %d tokens a step", slots, step)
        self._calm, self._slots, self._step_tokens = 0, slots, step
        return True

    def grow(self) -> None:
        """Take a step that went well as a sign that a larger one may."""
        self._calm += 1
        if self._calm % CALM_STEPS == 0:
            self._slots = min(2 * self._slots, self._limits.slots)
            self._step_tokens = min(2 * self._step_tokens, self._limits.step_tokens)

    @torch.inference_mode()
    def step(self) -> None:
        """Launch one step, which generates a token for each request whose prompt is read, and
        reads prompts beside.

        Where the device computes beside this thread (`runner.is_ahead`), the tokens of the step
        before arrive meanwhile; elsewhere those of this step. Raises RuntimeError if there is
        nothing to do.
        """
        launched = self._launch()
        if launched is None and self._launched is None:
            raise RuntimeError("there is nothing to do for the running requests")
        if self._runner.is_ahead:
            launched, self._launched = self._launched, launched
        if launched is not None:
            self._arrive(launched)

    def forget_prefixes(self) -> None:
        """Drop everything remembered of finished requests."""
        self._pages.forget()

    def generating(self) -> list[Running]:
        """Who takes part in a step that generates."""
        return [running for running in self._running.values() if running.is_generating]

    def _launch(self) -> Step | None:
        generating = self.generating()
        room = max(self._pages.size, self._step_tokens - len(generating))
        chunks = next_chunks(self._running.values(), room)
        if chunks:
            step = self._runner.read(chunks, generating)
        elif generating:
            step = self._runner.generate(generating)
        else:
            return None
        for chunk in chunks:
            chunk.running.read = chunk.end
            chunk.running.asked = int(chunk.is_last)
            self._pages.remember(chunk.running.ids[: chunk.end], chunk.running.pages)
        for running in generating:
            running.asked += 1
        return step

    def _arrive(self, step: Step) -> None:
        """Hand out the tokens of a step to those who are still there."""
        for running, token in zip(step.requests, step.tokens(), strict=True):
            if not running.finished:
                running.arrive(token)
