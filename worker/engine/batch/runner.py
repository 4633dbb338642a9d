"""Runs single steps of the language model over the cache of keys and values.

What a request has for its whole life, its pages and how it draws, goes to the device once, as a row
of a table, when it is seated. A step that generates is told nothing but which seats take part and
how long they are; each seat's last token stays on the device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch

from worker.engine.attention.kernels import DecodeStep, Kernels, MixedStep, PromptStep
from worker.engine.batch.running import Running
from worker.engine.batch.sampling import COLUMNS, Draws, Sampling
from worker.engine.batch.scheduling import Chunk
from worker.engine.errors import ModelError
from worker.engine.limits import SHARE_FOR_CACHE, Resolved, key_shape, token_bytes
from worker.engine.model.decoder import Cache, Decoder
from worker.engine.model.embedding import PictureEmbedding


@dataclass(frozen=True)
class Step:
    """A step that has been launched: whose it is, and the tokens that it brings, one each."""

    requests: Sequence[Running]
    chosen: torch.Tensor
    done: Any = None
    """The CUDA event after which `chosen`, in the host's memory, holds the tokens."""

    def tokens(self) -> list[int]:
        """Wait for the tokens."""
        if self.done is not None:
            self.done.synchronize()
        tokens: list[int] = self.chosen.tolist()
        return tokens


class Runner:
    """A language model with its cache, run step by step. One thread uses it."""

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
        self._longest = min(self.pages, -(-limits.context // self._page))
        # The last seat is nobody's: rows that only pad a captured step sit there, on page 0.
        seats, columns = limits.slots + 1, self._longest + COLUMNS
        self._seats = torch.zeros(seats, columns, dtype=torch.int32, device=self._device)
        self._last = torch.zeros(seats, dtype=torch.int64, device=self._device)

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

    def warm_up(self) -> None:
        """Prepare what steps need; to be called once, before the first step."""

    def seat(self, seat: int, pages: Sequence[int], draw: Sampling) -> None:
        """Give a seat to a request with its pages, in order, and how it draws."""
        row = [*pages, *[0] * (self._longest - len(pages)), *draw.columns()]
        self._seats[seat] = self._upload(row, torch.int32)

    def read(self, chunks: Sequence[Chunk], generating: Sequence[Running] = ()) -> Step:
        """Read parts of prompts, and in the same step generate a token for each of some requests
        whose prompts are read; a prompt whose end is read brings the answer's first token."""
        ids = [token for chunk in chunks for token in chunk.running.ids[chunk.start : chunk.end]]
        positions = [place for chunk in chunks for place in range(chunk.start, chunk.end)]
        prompt = self._prompt_step(chunks)
        ends = zip(prompt.on_host[0][1:], chunks, strict=True)
        last = [(end - 1, chunk.running) for end, chunk in ends if chunk.is_last]
        requests = [*(running for _, running in last), *generating]
        rows = [*(row for row, _ in last), *range(len(ids), len(ids) + len(generating))]
        seats, lengths = self._seats_and_lengths(requests)
        x, places = self._embedding(self._upload(ids)), self._upload(positions)
        step: PromptStep | MixedStep = prompt
        if generating:
            old = slice(len(last), None)
            decode = self._decode_step(seats[old], lengths[old], self._most_pages(generating))
            step = MixedStep(prompt, decode, torch.cat([prompt.slots, decode.slots]))
            x = torch.cat([x, self._words(seats[old])])
            places = torch.cat([places, lengths[old] - 1])
        scores = self._decoder(x, places, step, self._caches, self._upload(rows))
        return self._bring(requests, self._choose(scores, seats, lengths, _drawing(requests)))

    def generate(self, requests: Sequence[Running]) -> Step:
        """Generate a token for each of some requests whose prompts are read."""
        seats, lengths = self._seats_and_lengths(requests)
        pages = self._most_pages(requests)
        return self._bring(requests, self._decode(seats, lengths, pages, _drawing(requests)))

    def _seats_and_lengths(self, requests: Sequence[Running]) -> tuple[torch.Tensor, torch.Tensor]:
        """int64 [requests] each; a length counts the keys up to the token to be chosen."""
        seats = self._upload([running.seat for running in requests])
        return seats, self._upload([running.length for running in requests])

    def _most_pages(self, requests: Sequence[Running]) -> int:
        return -(-max(running.length for running in requests) // self._page)

    def _decode(
        self, seats: torch.Tensor, lengths: torch.Tensor, pages: int, drawing: Sequence[int] | None
    ) -> torch.Tensor:
        """Generate a token for each of some seats, int64 [rows], whose keys, the new one included,
        are `lengths`, int64 [rows], and take at most so many pages."""
        step = self._decode_step(seats, lengths, pages)
        scores = self._decoder(self._words(seats), lengths - 1, step, self._caches)
        return self._choose(scores, seats, lengths, drawing)

    def _decode_step(self, seats: torch.Tensor, lengths: torch.Tensor, pages: int) -> DecodeStep:
        table = self._seats[seats, :pages]
        positions = lengths - 1
        page = table.gather(1, (positions // self._page).unsqueeze(1)).squeeze(1).long()
        slots = page * self._page + positions % self._page
        return DecodeStep(slots, table, lengths.int())

    def _words(self, seats: torch.Tensor) -> torch.Tensor:
        """The embedded last tokens of seats: int64 [rows] -> [rows, hidden]."""
        words: torch.Tensor = self._embedding.words(self._last[seats])
        return words

    def _choose(
        self,
        scores: torch.Tensor,
        seats: torch.Tensor,
        lengths: torch.Tensor,
        drawing: Sequence[int] | None,
    ) -> torch.Tensor:
        """Choose the rows' next tokens; `drawing` are those that do not take the highest score,
        None stands for any."""
        if drawing is None:
            chosen = self._draws(seats).choose(scores, lengths)
        else:
            chosen = scores.argmax(-1)
            if drawing:
                rows = self._upload(drawing)
                chosen[rows] = self._draws(seats[rows]).choose(scores[rows], lengths[rows])
        self._last[seats] = chosen
        return chosen

    def _draws(self, seats: torch.Tensor) -> Draws:
        return Draws.of(self._seats[seats, self._longest :])

    def _bring(self, requests: Sequence[Running], chosen: torch.Tensor) -> Step:
        """Begin to bring tokens to the host."""
        return Step(requests, chosen)

    def _prompt_step(self, chunks: Sequence[Chunk]) -> PromptStep:
        starts = [0, *accumulate(chunk.end - chunk.start for chunk in chunks)]
        key_starts = [0, *accumulate(chunk.end for chunk in chunks)]
        known = torch.cat([self._slots(chunk.running.pages, chunk.end) for chunk in chunks])
        if any(chunk.start for chunk in chunks):
            ends = zip(key_starts[1:], chunks, strict=True)
            new = torch.cat([known[end - c.end + c.start : end] for end, c in ends])
            reads = self._send(known)
        else:
            new, reads = known, None
        return PromptStep(
            self._send(new),
            self._upload(starts, torch.int32),
            self._upload(key_starts, torch.int32),
            (max(c.end - c.start for c in chunks), max(c.end for c in chunks)),
            reads,
            (starts, key_starts),
        )

    def _slots(self, pages: Sequence[int], tokens: int) -> torch.Tensor:
        """Where the first tokens of a request lie in the cache: int64 [tokens], on the host."""
        table = torch.tensor(pages[: -(-tokens // self._page)]).unsqueeze(1)
        return (table * self._page + torch.arange(self._page)).flatten()[:tokens]

    def _upload(self, numbers: Sequence[int], dtype: torch.dtype = torch.int64) -> torch.Tensor:
        return self._send(torch.tensor(numbers, dtype=dtype))

    def _send(self, host: torch.Tensor) -> torch.Tensor:
        """Take a tensor to the device."""
        return host.to(self._device)


def _drawing(requests: Sequence[Running]) -> list[int]:
    """Which requests do not take the highest score."""
    return [i for i, running in enumerate(requests) if running.draw.temperature > 0]


def new_caches(model: Any, limits: Resolved) -> list[Cache]:
    """Keys and values of all layers, zeroed; page 0 belongs to nobody. Raises ModelError."""
    config = model.config.get_text_config()
    pages = (limits.cache_tokens or _free_tokens(model)) // limits.page_tokens
    shape = (max(pages, 1) + 1, limits.page_tokens, *key_shape(config))
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
            f"The key and value cache for {limits.cache_tokens or 'all free'} tokens does not fit "
            "into memory; lower the cache size or the number of slots, or use a larger device."
        ) from error


def _free_tokens(model: Any) -> int:
    """The tokens whose keys fit into a share of what is free on a GPU."""
    free, _ = torch.cuda.mem_get_info(model.device)
    size = token_bytes(model.config.get_text_config(), model.dtype)
    return int(SHARE_FOR_CACHE * free / size)
