"""The running batch: transformers' continuous batching, driven step by step.

The parts (scheduler, paged cache, inputs, model runner) are the stock ones of
transformers.generation.continuous_batching. The stock manager around them is not used: it polls a
queue, delivers through another thread, and loses the requests that it cancels.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig
from transformers.generation.continuous_batching import (
    RequestState,
    RequestStatus,
)
from transformers.generation.continuous_batching.continuous_api import (
    BackgroundThreadStatus,
    ContinuousBatchProcessor,
    OutputRouter,
)
from transformers.generation.continuous_batching.distributed import DistributedHelper
from transformers.generation.continuous_batching.initialization import (
    resolve_continuous_batching_config,
    update_cb_config_after_cache_creation,
)

from worker.engine.attention.old_kernels import Kernels
from worker.engine.batch.prefix_cache import PrefixCache
from worker.engine.batch.sampling import Sampler, Sampling
from worker.engine.batch.scheduling import PhaseScheduler
from worker.engine.counts import Counts
from worker.engine.errors import ModelError
from worker.engine.limits import Resolved

log = logging.getLogger(__name__)

CALM_STEPS = 256


@dataclass(eq=False)
class Running:
    """One request in the batch."""

    state: Any
    pages: int
    eos: frozenset[int]
    cache: PrefixCache = field(repr=False)

    @property
    def id(self) -> str:
        """The request's id."""
        return str(self.state.request_id)

    @property
    def tokens(self) -> list[int]:
        """What has been generated so far."""
        tokens: list[int] = self.state.generated_tokens
        return tokens

    @property
    def finished(self) -> bool:
        """Whether the last token has been generated."""
        return bool(self.state.status >= RequestStatus.FINISHED)

    @property
    def stopped(self) -> bool:
        """Whether the model ended the answer itself."""
        return bool(self.tokens) and self.tokens[-1] in self.eos

    @property
    def cached_tokens(self) -> int:
        """The prompt tokens that were found in the cache."""
        return self.cache.found.get(self.id, 0)

    @property
    def counts(self) -> Counts:
        """Its tokens; those of its prompt once that is read."""
        prompt = len(self.state.initial_tokens) if self.id in self.cache.found else 0
        return Counts(prompt, self.cached_tokens, len(self.tokens))


class Batch:
    """Holds running requests and advances all of them by one step at a time.

    Every running request has its worst case (prompt plus longest answer) reserved, so the stock
    scheduler never has to preempt one. One thread owns it; any may read its `counts`.
    """

    def __init__(self, model: Any, limits: Resolved, kernels: Kernels) -> None:
        """Take a model that attends with worker.engine.attention_interface, by `kernels`."""
        self._model = model
        self._limits = limits
        self._slots = limits.slots
        self._calm = 0
        self._page = limits.page_tokens
        self._running: dict[str, Running] = {}
        self._ended = Counts()
        self._counting = threading.Lock()
        self._reserved = 0
        self._sampler = Sampler()
        self._processor = _stock_processor(model, limits, self._sampler, kernels)
        self._graphs = kernels.capturable
        with torch.no_grad():
            self._processor.model_runner.warmup(model)
        self._cache: PrefixCache = self._processor.cache
        self.capacity = self._cache.num_blocks
        """Pages in the cache."""

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
        return int(self.capacity) * self._page

    def pages(self, tokens: int) -> int:
        """The pages that so many tokens of one request take."""
        return -(-tokens // self._page)

    def fits(self, tokens: int) -> bool:
        """Whether a request of so many tokens, prompt and answer together, may join now."""
        room = self.capacity - self._reserved
        return len(self._running) < self._slots and self.pages(tokens) <= room

    def shares_unfinished_prefix(self, ids: Sequence[int]) -> bool:
        """Whether a running request is still reading pages that this prompt begins with, too.

        If so it pays to wait: once read, the common pages are found in the cache.
        """
        readers = [
            other.state.initial_tokens
            for other in self._running.values()
            if not other.tokens and other.state.initial_tokens[: self._page] == ids[: self._page]
        ]
        if not readers:  # the rule, and matching a prompt hashes all of it
            return False
        end = len(self._cache.matched_pages(ids)) * self._page + self._page
        return end < len(ids) and any(reader[:end] == ids[:end] for reader in readers)

    def add(
        self, id_: str, ids: list[int], max_new_tokens: int, eos: frozenset[int], draw: Sampling
    ) -> Running:
        """Let a request join that `fits`."""
        state = RequestState(
            request_id=id_,
            initial_tokens=ids,
            max_new_tokens=max_new_tokens,
            eos_token_id=sorted(eos),
            logit_processor_kwargs={"sampling": draw},
        )
        running = Running(state, self.pages(len(ids) + max_new_tokens), eos, self._cache)
        with self._counting:
            self._running[id_] = running
        self._reserved += running.pages
        self._processor.scheduler.add_waiting_request(state)
        self._make_room()
        return running

    def remove(self, running: Running) -> None:
        """Take a request out, finished or not; its complete pages stay findable."""
        if running.id not in self._running:
            return
        with self._counting:
            self._ended += running.counts
            del self._running[running.id]
            self._cache.found.pop(running.id, None)
        self._reserved -= running.pages
        scheduler = self._processor.scheduler
        scheduler.set_request_cancellation(running.id)
        scheduler.clear_cancelled_requests()

    def shrink(self) -> bool:
        """Halve slots and step; False where both are as small as they can be.

        Both double again after each `CALM_STEPS` calls of `grow`.
        """
        stock = self._processor
        slots, step = max(1, self._slots // 2), max(self._page, stock.max_batch_tokens // 2)
        if (slots, step) == (self._slots, stock.max_batch_tokens):
            return False
        log.warning("out of memory: from now on %d slots, %d tokens a step", slots, step)
        self._calm, self._slots, stock.max_batch_tokens = 0, slots, step
        return True

    def grow(self) -> None:
        """Take a step that went well as a sign that a larger one may."""
        self._calm += 1
        if self._calm % CALM_STEPS == 0:
            stock, limits = self._processor, self._limits
            self._slots = min(2 * self._slots, limits.slots)
            stock.max_batch_tokens = min(2 * stock.max_batch_tokens, self._cache.max_batch_tokens)

    @torch.no_grad()
    def step(self) -> None:
        """Read prompts and generate one token for each request that is past its prompt.

        Raises RuntimeError if the stock scheduler advances nobody.
        """
        stock = self._processor
        if not stock.prepare_next_batch():
            raise RuntimeError("the scheduler found nothing to do for running requests")
        # What a graph captured of a greedy step knows nothing of drawing.
        stock.model_runner.use_cuda_graph_decode = self._graphs and not self._sampler.draws
        inputs = stock.inputs_and_outputs
        self._cache.speaking = [asked.state.request_id for asked in inputs.requests_in_batch]
        stock.model_runner.compute_batch(self._model, inputs.get_model_kwargs())
        inputs.retrieve_device_outputs()
        stock.update_batch()

    def forget_prefixes(self) -> None:
        """Drop everything remembered of finished requests."""
        self._cache.forget(self.capacity)

    def _make_room(self) -> None:
        """Keep as many pages free as running requests may still ask for, so that none is denied."""
        allocator = next(iter(self._cache.cache_allocators.values()))
        held = sum(len(table) for table in allocator.block_table.values())
        self._cache.forget(self._reserved - held - self._cache.free_pages)


class _NoRouter(OutputRouter):
    """Drops the stock outputs, which nobody reads here and which would pile up."""

    def deliver(self, output: Any) -> None:
        """Drop one output."""

    def deliver_batch(self, outputs: list[Any]) -> None:
        """Drop outputs."""


def _stock_processor(model: Any, limits: Resolved, sampler: Sampler, kernels: Kernels) -> Any:
    """Assemble the stock batch processor as the stock manager would, without its thread.

    Raises ModelError when the cache does not fit into memory.
    """
    text_config = model.config.get_text_config()
    blocks = None if limits.cache_tokens is None else limits.cache_tokens // limits.page_tokens
    config = resolve_continuous_batching_config(
        config=text_config,
        cb_config=ContinuousBatchingConfig(
            page_size=limits.page_tokens,
            num_blocks=blocks,
            max_batch_tokens=limits.step_tokens,
            max_requests_per_batch=limits.slots,
            max_blocks_per_request=0,
            max_memory_percent=0.8,
            # Of the steps that generate; those that read prompts have too many shapes.
            use_cuda_graph=(False, kernels.capturable),
            use_async_batching=False,
            seed=0,
        ),
        workload_hints=None,
        has_logit_processors=True,
        device=model.device,
    )
    # Set only now: the stock check would want the flash-attn package, which ours does without.
    config.max_blocks_per_request = -(-limits.context // limits.page_tokens)
    helper = DistributedHelper(device_mesh=None, cpu_group_timeout=None, tp_plan={})
    try:
        cache = PrefixCache(
            kernels,
            config=text_config,
            continuous_batching_config=config,
            device=model.device,
            distributed_helper=helper,
            dtype=model.dtype,
            model_supports_logits_to_keep=True,
        )
    except (MemoryError, ValueError, torch.OutOfMemoryError) as error:
        raise ModelError(
            f"The key and value cache for {limits.cache_tokens or 'all free'} tokens does not fit "
            "into memory; lower the cache size or the number of slots, or use a larger device."
        ) from error
    update_cb_config_after_cache_creation(config, cache.num_blocks, cache.max_batch_tokens)
    return ContinuousBatchProcessor(
        cache=cache,
        config=text_config,
        generation_config=GenerationConfig(do_sample=False),
        continuous_batching_config=config,
        logit_processor=sampler,
        input_queue=None,
        cancel_queue=None,
        output_router=_NoRouter(),
        background_thread_status=BackgroundThreadStatus(),
        model_device=model.device,
        model_dtype=model.dtype,
        # Pages are reserved by Batch.add, so the stock safety margin would only idle them.
        scheduler=PhaseScheduler(cache, 0.0, limits.slots),
        distributed_helper=helper,
    )
