"""A running batch whose model does nothing; what knows how the engine is made is here alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from transformers import MistralConfig, MistralForCausalLM
from transformers.generation.continuous_batching.model_runner import ModelRunner

from worker.engine.attention import interface
from worker.engine.attention.anywhere import Anywhere
from worker.engine.batch.batch import Batch
from worker.engine.batch.sampling import Sampling
from worker.engine.limits import Resolved

_TOKEN = 7
_PAGE = 256
_STEP = 2048
_CONTEXT = 32768


@contextmanager
def idle_batch(requests: int, prompt: int, answer: int) -> Iterator[Batch]:
    """A batch of so many requests, as large in all as on a GPU, whose prompts have been read.

    Each has a prompt of its own of `prompt` tokens and an answer of `answer`, all the same token,
    which no model computes. From here on each `step` generates one token for every request.
    """
    model = _model()
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
    with patch.object(ModelRunner, "_forward_process_and_sample", _answer):
        batch = Batch(model, limits, Anywhere())
        running = [
            batch.add(
                str(number),
                list(range(number * prompt, (number + 1) * prompt)),
                answer,
                frozenset(),
                Sampling(),
            )
            for number in range(requests)
        ]
        while not all(one.tokens for one in running):
            batch.step()
        yield batch


def _model() -> MistralForCausalLM:
    """Return a model of next to nothing that attends as the engine has it."""
    configuration = MistralConfig(
        vocab_size=512,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=_CONTEXT,
        sliding_window=None,
    )
    model = MistralForCausalLM(configuration).eval()
    interface.use(model)
    # There is no text part here. With this name no mask is built.
    model.config._attn_implementation_internal = interface.NAME
    return model


def _answer(_runner: Any, _model: Any, _inputs: Any, _carry: Any, _past: Any, output: Any) -> None:
    """Stand for the model: the same token for everybody."""
    output.fill_(_TOKEN)
