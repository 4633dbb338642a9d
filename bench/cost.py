"""The arithmetic and the memory traffic that a job cannot do without, and the time they take.

`least_seconds` is the limit that every measurement, every plot and the sizing of the operations
manual go by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig, LlavaNextProcessor

from bench.ceilings import Ceilings
from bench.workload import Question
from worker.engine import Picture
from worker.engine.model.description import tiling_of
from worker.engine.vision import images
from worker.engine.vision.images import Tiling


@dataclass(frozen=True)
class Numbers:
    """How a model's numbers are held: bytes of one that is computed with or cached, bytes of a
    weight of the language model's linear layers, and whether these multiply in 8 bits."""

    size: int
    weight: float
    in_8_bits: bool = False


FLOAT32, BFLOAT16, FP8 = Numbers(4, 4), Numbers(2, 2), Numbers(2, 1, in_8_bits=True)


@dataclass(frozen=True)
class Job:
    """What one job asks for: tiles to look at, tokens of its prompt, how many of them are cached,
    and tokens of its answer."""

    tiles: int
    prompt: int
    known: int
    answer: int


@dataclass(frozen=True)
class Cost:
    """Floating-point operations, those of them that multiply in 8 bits, and bytes read and written
    at the least."""

    flops: float = 0.0
    bytes: float = 0.0
    flops_8: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.flops + other.flops, self.bytes + other.bytes, self.flops_8 + other.flops_8
        )

    def seconds(self, ceilings: Ceilings) -> float:
        """The time that it takes at the least: the scarcer of arithmetic and traffic settles it."""
        wide = (self.flops - self.flops_8) / ceilings.flops
        return max(wide + self.flops_8 / ceilings.flops_8, self.bytes / ceilings.bytes)


class Costs:
    """Counts what parts of a job cost, from a model's configuration.

    A multiplication and an addition are two operations, as everywhere. Attention is counted for
    keys that a query may see. The last layer of the vision tower is not: nobody reads it.
    """

    def __init__(self, config: Any, numbers: Numbers) -> None:
        text = config.text_config
        self._config = config
        self._numbers = numbers
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
    def weight_bytes(self) -> float:
        """Bytes of them: the output layer keeps its precision."""
        linear = self._layers * self._layer * self._numbers.weight
        return float(linear + self._head * self._numbers.size)

    @property
    def token_bytes(self) -> int:
        """Bytes of one token's keys and values."""
        return int(2 * self._layers * self._keys * self._numbers.size)

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
        attention = 4 * self._queries * self._layers * pairs
        return self._cost(tokens, 1, attention, (known + tokens) * self.token_bytes)

    def decode(self, prompt: int, answer: int, batch: int) -> Cost:
        """Generating the second and all further tokens in a batch that shares the weights."""
        steps = answer - 1
        seen = sum(prompt + step for step in range(1, answer))
        attention = 4 * self._queries * self._layers * seen
        read = steps * self.weight_bytes / batch + seen * self.token_bytes
        return self._cost(steps, steps, attention, read)

    def stages(self, job: Job, batch: int) -> tuple[Cost, Cost, Cost]:
        """Looking, reading and generating, in a batch of so many that generate together."""
        return (
            self.vision(job.tiles),
            self.prefill(job.prompt - job.known, job.known),
            self.decode(job.prompt, job.answer, batch),
        )

    def _cost(self, tokens: int, scored: int, attention: int, read: float) -> Cost:
        """The cost of `tokens` that pass the layers, `scored` of which pass the output layer."""
        linear = 2 * tokens * self._layers * self._layer
        flops = linear + 2 * scored * self._head + attention
        return Cost(flops, read, linear if self._numbers.in_8_bits else 0)


def least_seconds(costs: Costs, jobs: Iterable[Job], batch: int, ceilings: Ceilings) -> float:
    """The least time in which a machine answers jobs, `batch` of which generate together.

    Each stage takes what the scarcer of arithmetic and traffic takes, and stages add up: no
    arithmetic of one is hidden behind traffic of another.
    """
    return sum(stage.seconds(ceilings) for job in jobs for stage in costs.stages(job, batch))


def jobs_of(
    questions: Sequence[Question], tiling: Tiling, prompt: Callable[[Question], int]
) -> list[Job]:
    """What questions ask for, in order: what is known of a picture is not computed again.

    `prompt` returns the tokens of a question's prompt, its picture's included.
    """
    seen: set[bytes] = set()
    jobs = []
    for question in questions:
        tokens, tiles = size_of(question, tiling)
        known = question.picture in seen
        jobs.append(
            Job(
                0 if known else tiles,
                prompt(question),
                tokens if known else 0,
                question.max_new_tokens,
            )
        )
        seen.add(question.picture)
    return jobs


def size_of(question: Question, tiling: Tiling) -> tuple[int, int]:
    """The tokens and the tiles of a question's picture."""
    height, width = images.size(Picture(question.picture))
    rows, columns = tiling.grid(height, width)
    return tiling.tokens(height, width), 1 + rows * columns // tiling.tile**2


class Limit:
    """The most jobs a second that a machine's ceilings allow for a checkpoint in float32."""

    def __init__(self, model: Path, ceilings: Ceilings) -> None:
        config = AutoConfig.from_pretrained(model)
        self._costs = Costs(config, FLOAT32)
        self._tiling = tiling_of(config)
        self._tokenizer = LlavaNextProcessor.from_pretrained(model).tokenizer
        self._ceilings = ceilings

    def jobs_per_second(self, questions: Sequence[Question], in_flight: int) -> float:
        """The limit for questions in order, so many of them in flight."""
        jobs = jobs_of(questions, self._tiling, self.prompt_tokens)
        return len(questions) / least_seconds(self._costs, jobs, in_flight, self._ceilings)

    def prompt_tokens(self, question: Question) -> int:
        """The length of a question's prompt, its picture's tokens included."""
        text = "<s>[INST] \n [/INST]" + question.text
        words = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return size_of(question, self._tiling)[0] + len(words)
