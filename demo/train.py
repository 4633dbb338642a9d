"""Train the demo model from nothing: first its tower to see, then the whole to converse."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from demo.conversations import Example, conversation, encode, example
from demo.evaluate import evaluate, write_report
from demo.learning import Graded, grade_answers, grade_sight, pixels_of, see
from demo.model import WEIGHTS, new_model, new_processor
from demo.scenes import LABELS, random_scene

CHUNK = 100  # scenes that one process draws at a time
WINDOW = 8  # batches drawn together, so that pictures of like length can share a batch
STAGES = ("tower", "whole")
SIGHT_SHARE = 0.5  # of the tower's own loss while the whole is trained


@dataclass(frozen=True)
class Recipe:
    """Everything besides the code that decides the weights."""

    seed: int = 0
    scenes: int = 40_000
    tower_steps: int = 900
    tower_batch: int = 64
    tower_rate: float = 1.5e-3
    steps: int = 3_000
    batch: int = 32
    rate: float = 1e-3


class Stage(NamedTuple):
    """One stretch of training with its own optimiser and rate."""

    name: str
    steps: int
    batch: int
    rate: float


class Learner:
    """The model, the head that names patches while it trains, and where to resume."""

    def __init__(self, recipe: Recipe, checkpoint: Path | None) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.processor = new_processor()
        self.model: Any = new_model()
        self.head = nn.Linear(self.model.config.vision_config.hidden_size, LABELS)
        self.checkpoint = checkpoint
        self.saved: dict[str, Any] = {}
        if checkpoint and checkpoint.exists():
            self.saved = torch.load(checkpoint, weights_only=True)
            self.model.load_state_dict(self.saved["model"])
            self.head.load_state_dict(self.saved["head"])

    def learn_to_see(self, examples: list[Example]) -> None:
        """Pretrain the tower, as CLIP is for LLaVA, on naming what covers each patch."""

        def grade(batch: list[Example], generator: torch.Generator, _: Random) -> list[Graded]:
            return [grade_sight(self.head, see(self.model, pixels_of(batch, generator)), batch)]

        parameters = [*self.model.model.vision_tower.parameters(), *self.head.parameters()]
        recipe = self.recipe
        stage = Stage("tower", recipe.tower_steps, recipe.tower_batch, recipe.tower_rate)
        self._train(stage, grade, parameters, examples)

    def learn_to_converse(self, examples: list[Example]) -> None:
        """Train the whole on conversations, the tower still naming its patches beside."""

        def grade(batch: list[Example], generator: torch.Generator, rng: Random) -> list[Graded]:
            features = see(self.model, pixels_of(batch, generator))
            talks = [encode(conversation(one.scene, rng), self.processor) for one in batch]
            answers = grade_answers(self.model, features, batch, talks)
            return [answers, grade_sight(self.head, features, batch)]

        parameters = [*self.model.parameters(), *self.head.parameters()]
        recipe = self.recipe
        stage = Stage("whole", recipe.steps, recipe.batch, recipe.rate)
        self._train(stage, grade, parameters, examples)

    def _train(
        self,
        stage: Stage,
        grade: Any,
        parameters: list[nn.Parameter],
        examples: list[Example],
    ) -> None:
        """Take the stage's steps; the chance in each depends on seed, stage and step alone."""
        first, name = self._resume_at(stage), f"{self.recipe.seed} {stage.name}"
        rate = stage.rate
        optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.03)
        if self.saved.get("stage") == stage.name:
            optimizer.load_state_dict(self.saved["optimizer"])
        batches = _batches(examples, stage.batch, name, first, stage.steps)
        with tqdm(total=stage.steps, initial=first, desc=stage.name, unit="step") as bar:
            for step, batch in enumerate(batches, first):
                generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + step)
                rng = Random(f"{name} {step}")
                grades = grade(batch, generator, rng)
                loss: Tensor = grades[0].loss + sum(SIGHT_SHARE * one.loss for one in grades[1:])
                for group in optimizer.param_groups:
                    group["lr"] = rate * _schedule(step, stage.steps)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(parameters, 1.0)
                optimizer.step()
                bar.update()
                right = " ".join(f"{one.right:.1%}" for one in grades)
                bar.set_postfix(loss=f"{loss:.3f}", right=right)
                if (step + 1) % 100 == 0 or step + 1 == stage.steps:
                    self._save(stage.name, step + 1, optimizer)

    def _resume_at(self, stage: Stage) -> int:
        """Say how many of the stage's steps the checkpoint has behind it."""
        saved = STAGES.index(self.saved["stage"]) if self.saved else -1
        if saved == STAGES.index(stage.name):
            return int(self.saved["step"])
        return stage.steps if saved > STAGES.index(stage.name) else 0

    def _save(self, stage: str, step: int, optimizer: torch.optim.Optimizer) -> None:
        if self.checkpoint:
            state = {"stage": stage, "step": step, "optimizer": optimizer.state_dict()}
            state |= {"model": self.model.state_dict(), "head": self.head.state_dict()}
            half = self.checkpoint.with_suffix(".part")
            torch.save(state, half)
            half.replace(self.checkpoint)

    def save_pretrained(self, folder: Path) -> None:
        """Write the weights and the processor the way transformers loads them."""
        self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)


def _schedule(step: int, steps: int) -> float:
    """Share of the full rate: a short rise, then a cosine down to a twentieth."""
    return min(1.0, (step + 1) / 100) * (0.05 + 0.475 * (1 + math.cos(math.pi * step / steps)))


def _batches(
    examples: list[Example], size: int, seed: str, first: int, steps: int
) -> Iterator[list[Example]]:
    """Yield the batches of steps `first` to `steps`, each of pictures of about the same length."""
    for window in range(first // WINDOW, math.ceil(steps / WINDOW)):
        rng = Random(f"{seed} window {window}")
        chosen = rng.sample(examples, min(len(examples), size * WINDOW))
        chosen.sort(key=lambda one: one.tokens)
        batches = [chosen[i : i + size] for i in range(0, len(chosen), size)]
        rng.shuffle(batches)
        skipped = max(0, first - window * WINDOW)
        yield from batches[skipped : steps - window * WINDOW]


def draw_examples(seed: str, count: int, processes: int) -> list[Example]:
    """Draw `count` scenes in parallel processes; scene i depends on `seed` and i alone."""
    starts = range(0, count, CHUNK)
    # A forked child would inherit torch's threads in an unknown state.
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        chunks = pool.map(partial(_draw_chunk, seed), starts)
        bar = tqdm(chunks, total=len(starts), desc="drawing", unit=f"x{CHUNK}")
        return [one for chunk in bar for one in chunk][:count]


def _draw_chunk(seed: str, first: int) -> list[Example]:
    processor = new_processor()
    scenes = (random_scene(Random(f"{seed} {i}")) for i in range(first, first + CHUNK))
    return [example(scene, processor) for scene in scenes]


def train(recipe: Recipe, out: Path, checkpoint: Path | None, processes: int) -> None:
    """Carry out the recipe and write the trained model to `out`."""
    learner = Learner(recipe, checkpoint)
    examples = draw_examples(f"{recipe.seed} training", recipe.scenes, processes)
    learner.learn_to_see(examples)
    learner.learn_to_converse(examples)
    learner.save_pretrained(out)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.train",
        description=__doc__,
        epilog="example: python -m demo.train --seed 0 --out demo/weights",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    for field in fields(Recipe):
        kind = type(field.default)
        option = "--" + field.name.replace("_", "-")
        parser.add_argument(option, type=kind, default=field.default, help="part of the recipe")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder for the trained model")
    parser.add_argument("--checkpoint", type=Path, help="file to save progress to, and resume from")
    parser.add_argument("--processes", type=int, default=2, help="for drawing")
    parser.add_argument("--count", type=int, default=400, help="held-out scenes a row to measure")
    given = vars(parser.parse_args())
    recipe = Recipe(**{field.name: given[field.name] for field in fields(Recipe)})
    started = time.monotonic()
    train(recipe, given["out"], given["checkpoint"], given["processes"])
    print(f"trained in {(time.monotonic() - started) / 60:.0f} minutes")
    report = evaluate(given["out"], given["count"])
    print(report)
    write_report(report, given["out"])


if __name__ == "__main__":
    main()
