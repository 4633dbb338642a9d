"""Runs single steps of the language model: the cache and the tables on the device, one row a seat.

What a request has for its whole life (its pages, how it draws) goes to the device once, when it is
seated; a step that generates is told nothing but which seats take part and how long they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch

from worker.engine.attention.kernels import DecodeStep, Kernels, PromptStep
from worker.engine.batch.running import Running
from worker.engine.batch.sampling import Draws, Sampling
from worker.engine.batch.scheduling import Chunk
from worker.engine.errors import ModelError
from worker.engine.limits import Resolved, token_bytes
from worker.engine.model.decoder import Cache, Decoder
from worker.engine.model.embedding import PictureEmbedding


@dataclass(frozen=True)
class Step:
    """A step that has been launched: whose it is, and the tokens that it brings, one each."""

    requests: Sequence[Running]
    chosen: torch.Tensor

    def tokens(self) -> list[int]:
        """Wait for the tokens."""
        tokens: list[int] = self.chosen.tolist()
        return tokens


class Runner:
    """A language model with its cache. One thread uses it."""

    is_ahead = False
    """Whether the device computes beside the thread that launches steps."""

    def __init__(
        self,
        decoder: Decoder,
        embedding: PictureEmbedding,
        caches: list[Cache],
        limits: Resolved,
    ) -> None:
        """Take a model's layers, its embedding, which looks pictures up, and a cache for each layer
        (see `new_caches`)."""
        self._decoder = decoder
        self._embedding = embedding
        self._caches = caches
        self._device = embedding.table.device
        self._page = limits.page_tokens
        self.pages = len(caches[0][0]) - 1
        """Pages that can be given to requests."""
        longest = min(self.pages, -(-limits.context // self._page))
        self._table = torch.zeros(limits.slots, longest, dtype=torch.int32, device=self._device)
        self._last = torch.zeros(limits.slots, dtype=torch.int64, device=self._device)
        self._draws = Draws.new(limits.slots, self._device)

    @classmethod
    def of(
        cls, model: Any, embedding: PictureEmbedding, kernels: Kernels, limits: Resolved
    ) -> "Runner":
        """Take over a loaded LlavaNextForConditionalGeneration.

        Raises ModelError when the cache does not fit into memory, or the language model has layers
        of another form.
        """
        decoder = Decoder(model, kernels, limits.context)
        return cls(decoder, embedding, new_caches(model, limits), limits)

    def seat(self, seat: int, pages: Sequence[int], draw: Sampling) -> None:
        """Give a seat to a request with its pages, in order, and how it draws."""
        self._table[seat, : len(pages)] = torch.tensor(pages, dtype=torch.int32)
        self._draws.set(seat, draw)

    def read(self, chunks: Sequence[Chunk]) -> Step:
        """Read parts of prompts; those whose prompt ends bring the answer's first token."""
        ids = [token for chunk in chunks for token in chunk.running.ids[chunk.start : chunk.end]]
        positions = torch.cat([torch.arange(chunk.start, chunk.end) for chunk in chunks])
        step = self._prompt_step(chunks, positions)
        ends = step.on_host[0][1:]
        last = [
            (end - 1, chunk.running)
            for end, chunk in zip(ends, chunks, strict=True)
            if chunk.is_last
        ]
        scores = self._decoder(
            self._embedding(torch.tensor(ids, device=self._device)),
            positions.to(self._device),
            step,
            self._caches,
            torch.tensor([row for row, _ in last], dtype=torch.int64, device=self._device),
        )
        requests = [running for _, running in last]
        lengths = [len(running.ids) for running in requests]
        return self._choose(requests, scores, self._rows(requests), self._tensor(lengths))

    def generate(self, requests: Sequence[Running]) -> Step:
        """Generate a token for each of some requests whose prompts are read."""
        seats = self._rows(requests)
        lengths = self._tensor([running.length for running in requests])
        longest = max(running.length for running in requests)
        table = self._table[seats, : -(-longest // self._page)]
        positions = lengths - 1
        place = table.gather(1, (positions // self._page).unsqueeze(1)).squeeze(1).long()
        step = DecodeStep(place * self._page + positions % self._page, table, lengths.int())
        words = self._embedding.words(self._last[seats])
        scores = self._decoder(words, positions, step, self._caches)
        return self._choose(requests, scores, seats, lengths)

    def _choose(
        self,
        requests: Sequence[Running],
        scores: torch.Tensor,
        seats: torch.Tensor,
        lengths: torch.Tensor,
    ) -> Step:
        chosen = scores.argmax(-1)
        drawn = [i for i, running in enumerate(requests) if running.draw.temperature > 0]
        if drawn:
            rows = self._tensor(drawn)
            chosen[rows] = self._draws.at(seats[rows]).choose(scores[rows], lengths[rows])
        self._last[seats] = chosen
        return Step(requests, chosen)

    def _prompt_step(self, chunks: Sequence[Chunk], positions: torch.Tensor) -> PromptStep:
        tables = [torch.tensor(chunk.running.pages) for chunk in chunks]
        slots = torch.cat(
            [
                table[place // self._page] * self._page + place % self._page
                for table, place in zip(
                    tables,
                    positions.split([chunk.end - chunk.start for chunk in chunks]),
                    strict=True,
                )
            ]
        )
        reads = None
        if any(chunk.start for chunk in chunks):
            known = [(table, torch.arange(c.end)) for table, c in zip(tables, chunks, strict=True)]
            reads = torch.cat([t[p // self._page] * self._page + p % self._page for t, p in known])
        starts = [0, *accumulate(chunk.end - chunk.start for chunk in chunks)]
        key_starts = [0, *accumulate(chunk.end for chunk in chunks)]
        longest = max(c.end - c.start for c in chunks), max(c.end for c in chunks)
        return PromptStep(
            slots.to(self._device),
            torch.tensor(starts, dtype=torch.int32, device=self._device),
            torch.tensor(key_starts, dtype=torch.int32, device=self._device),
            longest,
            None if reads is None else reads.to(self._device),
            (starts, key_starts),
        )

    def _rows(self, requests: Sequence[Running]) -> torch.Tensor:
        return self._tensor([running.seat for running in requests])

    def _tensor(self, numbers: Sequence[int]) -> torch.Tensor:
        return torch.tensor(numbers, dtype=torch.int64, device=self._device)


def new_caches(model: Any, limits: Resolved) -> list[Cache]:
    """Keys and values of all layers, zeroed; page 0 belongs to nobody. Raises ModelError."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    pages = (limits.cache_tokens or _free_tokens(model)) // limits.page_tokens
    shape = (pages + 1, limits.page_tokens, heads, dim)
    try:
        return [
            (
                torch.zeros(shape, dtype=model.dtype, device=model.device),
                torch.zeros(shape, dtype=model.dtype, device=model.device),
            )
            for _ in range(config.num_hidden_layers)
        ]
    except (MemoryError, RuntimeError) as error:
        raise ModelError(
            f"The key and value cache for {pages * limits.page_tokens} tokens does not fit "
            "into memory; lower the cache size or the number of slots, or use a larger device."
        ) from error


def _free_tokens(model: Any) -> int:
    """The tokens whose keys fit into what the weights leave free on a GPU, less a fifth."""
    free, _ = torch.cuda.mem_get_info(model.device)
    return int(0.8 * free / token_bytes(model.config.get_text_config(), model.dtype))
