"""A running batch whose model does nothing; what knows how the engine is made is here alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from worker.engine.batch.batch import Batch
from worker.engine.batch.runner import Runner
from worker.engine.batch.sampling import Sampling
from worker.engine.limits import Resolved
from worker.engine.model.decoder import Decoder
from worker.engine.model.embedding import PictureEmbedding

_WORDS = 512
_PAGE = 256
_STEP = 2048
_CONTEXT = 32768


@contextmanager
def idle_batch(requests: int, prompt: int, answer: int) -> Iterator[Batch]:
    """A batch of so many requests, as large in all as on a GPU, whose prompts have been read.

    Each has a prompt of its own of `prompt` tokens and an answer of `answer`, all the same token,
    which no model computes. From here on each `step` generates one token for every request.
    """
    pages = requests * -(-(prompt + answer) // _PAGE)
    limits = Resolved(
        context=_CONTEXT,
        slots=requests,
        cache_tokens=pages * _PAGE,
        step_tokens=_STEP,
        page_tokens=_PAGE,
        picture_tokens=0,
        tiles_per_pass=1,
    )
    cells = torch.zeros(pages + 1, _PAGE, 1, 1)
    embedding = PictureEmbedding(nn.Embedding(_WORDS, 32), 1)
    batch = Batch(Runner(IdleDecoder(), embedding, [(cells, cells)], limits), limits)
    running = [
        batch.add(
            str(number),
            [(number * prompt + place) % _WORDS for place in range(prompt)],
            answer,
            frozenset(),
            Sampling(),
        )
        for number in range(requests)
    ]
    while not all(one.tokens for one in running):
        batch.step()
    yield batch


class IdleDecoder(Decoder):
    """Layers that compute nothing and give every word the same score."""

    def __init__(self) -> None:
        """Take no weights."""

    def __call__(
        self,
        x: torch.Tensor,
        positions: torch.Tensor,
        step: Any,
        caches: Any,
        rows: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return scores, all zero."""
        del positions, step, caches
        return torch.zeros(len(x if rows is None else rows), _WORDS)
