"""The arithmetic and the memory traffic that a job cannot do without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig, LlavaNextProcessor

from bench.ceilings import Ceilings
from bench.workload import Question
from worker.engine import Picture
from worker.engine.vision import images
from worker.engine.vision.images import Tiling


@dataclass(frozen=True)
class Cost:
    """Floating-point operations, and bytes read and written at the least."""

    flops: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.bytes + other.bytes)

    def seconds(self, ceilings: Ceilings) -> float:
        """The time that it takes at the least: the scarcer of arithmetic and traffic settles it."""
        return max(self.flops / ceilings.flops, self.bytes / ceilings.bytes)


class Costs:
    """Counts what parts of a job cost, from a model's configuration; `itemsize` bytes a number.

    A multiplication and an addition are two operations, as everywhere. Attention is counted for
    keys that a query may see. The last layer of the vision tower is not: nobody reads it.
    """

    def __init__(self, config: Any, itemsize: int) -> None:
        text = config.text_config
        self._config = config
        self._itemsize = itemsize
        size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        self._queries = size * text.num_attention_heads
        self._keys = size * text.num_key_value_heads
        attention = 2 * text.hidden_size * (self._queries + self._keys)
        self._layer = attention + 3 * text.hidden_size * text.intermediate_size
        self._layers = text.num_hidden_layers
        self._head = text.hidden_size * text.vocab_size

    @property
    def weights(self) -> int:
        """Numbers in the language model that each step reads."""
        return int(self._layers * self._layer + self._head)

    @property
    def token_bytes(self) -> int:
        """Bytes of one token's keys and values."""
        return int(2 * self._layers * self._keys * self._itemsize)

    def vision(self, tiles: int) -> Cost:
        """Looking at tiles, up to features in the language model's width."""
        vision, hidden = self._config.vision_config, self._config.text_config.hidden_size
        wide, patches = vision.hidden_size, (vision.image_size // vision.patch_size) ** 2
        seen = self._config.vision_feature_layer % (vision.num_hidden_layers + 1)
        tokens = patches + 1
        layer = 2 * tokens * (4 * wide**2 + 2 * wide * vision.intermediate_size)
        layer += 4 * tokens**2 * wide
        embedding = 2 * patches * 3 * vision.patch_size**2 * wide
        projector = 2 * patches * (wide * hidden + hidden**2)
        return Cost(tiles * (seen * layer + embedding + projector))

    def prefill(self, tokens: int, known: int = 0) -> Cost:
        """Reading a prompt's `tokens` after `known` ones whose keys are cached, and one answer
        token; the weights are read for many prompts at once, and not counted."""
        pairs = tokens * known + tokens * (tokens + 1) // 2
        flops = 2 * (tokens * self._layers * self._layer + self._head)
        return Cost(
            flops + 4 * self._queries * self._layers * pairs, (known + tokens) * self.token_bytes
        )

    def decode(self, prompt: int, answer: int, batch: int) -> Cost:
        """Generating the second and all further tokens in a batch that shares the weights."""
        steps = answer - 1
        seen = sum(prompt + step for step in range(1, answer))
        flops = 2 * steps * self.weights + 4 * self._queries * self._layers * seen
        read = steps * self.weights * self._itemsize / batch + seen * self.token_bytes
        return Cost(flops, read)


class Limit:
    """The most jobs a second that a machine's ceilings allow for a checkpoint."""

    def __init__(self, model: Path, ceilings: Ceilings, itemsize: int = 4) -> None:
        config = AutoConfig.from_pretrained(model)
        vision = config.vision_config
        self._costs = Costs(config, itemsize)
        self._tiling = Tiling(
            vision.image_size,
            tuple(map(tuple, config.image_grid_pinpoints)),
            vision.image_size // vision.patch_size,
        )
        self._tokenizer = LlavaNextProcessor.from_pretrained(model).tokenizer
        self._ceilings = ceilings

    def jobs_per_second(self, questions: Sequence[Question], in_flight: int) -> float:
        """The limit for questions in order: what is known of a picture is not computed again."""
        seen: set[bytes] = set()
        seconds = 0.0
        for question in questions:
            seconds += self._seconds(question, question.picture in seen, in_flight)
            seen.add(question.picture)
        return len(questions) / seconds

    def prompt_tokens(self, question: Question) -> int:
        """The length of a question's prompt, its picture's tokens included."""
        return self._picture(question)[0] + self._text(question)

    def _seconds(self, question: Question, known: bool, batch: int) -> float:
        picture, tiles = self._picture(question)
        prompt = picture + self._text(question)
        stages = [self._costs.decode(prompt, question.max_new_tokens, batch)]
        if known:
            stages.append(self._costs.prefill(prompt - picture, picture))
        else:
            stages += [self._costs.vision(tiles), self._costs.prefill(prompt)]
        return sum(stage.seconds(self._ceilings) for stage in stages)

    def _picture(self, question: Question) -> tuple[int, int]:
        height, width = images.size(Picture(question.picture))
        rows, columns = self._tiling.grid(height, width)
        return self._tiling.tokens(height, width), 1 + rows * columns // self._tiling.tile**2

    def _text(self, question: Question) -> int:
        around = "<s>[INST] \n [/INST]"
        return len(self._tokenizer(around + question.text, add_special_tokens=False)["input_ids"])
