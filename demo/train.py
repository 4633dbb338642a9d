"""Train the demo model from nothing: to see, then to converse, at last to read small print."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from demo.conversations import Example, conversation, encode
from demo.evaluate import evaluate, load, write_report
from demo.learning import Graded, grade_answers, grade_sight, pixels_of, see
from demo.material import draw_examples
from demo.model import WEIGHTS, new_model, new_processor
from demo.questions import MORE_PHRASES, PHRASES, Phrases
from demo.recipe import STAGES, Recipe, Stage
from demo.scenes import LABELS

WINDOW = 8  # batches drawn together, so that pictures of like length can share a batch
SIGHT_SHARE = 0.5  # of the tower's own loss while the whole is trained
KEPT_EVERY = 50  # steps


class Learner:
    """The model, the head that names patches while it trains, and where to resume."""

    def __init__(self, recipe: Recipe, checkpoint: Path | None, start: Path | None = None) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.processor = new_processor()
        self.model: Any = new_model()
        self.head = nn.Linear(self.model.config.vision_config.hidden_size, LABELS)
        self.checkpoint = checkpoint
        self.saved: dict[str, Any] = {}
        self.before: dict[str, Tensor] | None = None
        if checkpoint and checkpoint.exists():
            self.saved = torch.load(checkpoint, weights_only=True)
            self.model.load_state_dict(self.saved["model"])
            self.head.load_state_dict(self.saved["head"])
            self.before = self.saved.get("before")
        elif start:
            self.model = load(start)[0].train()
            self.saved = {"stage": "whole", "step": recipe.steps}

    def has_done(self, stage: str, steps: int) -> bool:
        """Whether all of a stage is behind it."""
        return self._resume_at(Stage(stage, steps, 0, 0.0)) == steps

    def learn_to_see(self, examples: list[Example]) -> None:
        """Pretrain the tower, as CLIP is for LLaVA, on naming what covers each patch."""

        def grade(batch: list[Example], generator: torch.Generator, _: Random) -> list[Graded]:
            return [grade_sight(self.head, see(self.model, pixels_of(batch, generator)), batch)]

        parameters = [*self.model.model.vision_tower.parameters(), *self.head.parameters()]
        recipe = self.recipe
        stage = Stage("tower", recipe.tower_steps, recipe.tower_batch, recipe.tower_rate)
        self._train(stage, grade, parameters, self._batches(stage, examples))

    def learn_to_converse(self, examples: list[Example]) -> None:
        """Train the whole on conversations, the tower still naming its patches beside."""
        recipe = self.recipe
        stage = Stage("whole", recipe.steps, recipe.batch, recipe.rate)
        self._train(stage, self._talk, self._all(), self._batches(stage, examples))

    def learn_to_name(self, examples: list[Example]) -> None:
        """Train the head alone, which weights that somebody saved do not include."""

        def grade(batch: list[Example], generator: torch.Generator, _: Random) -> list[Graded]:
            with torch.no_grad():
                features = see(self.model, pixels_of(batch, generator))
            return [grade_sight(self.head, features, batch)]

        recipe = self.recipe
        stage = Stage("head", recipe.head_steps, recipe.tower_batch, recipe.tower_rate)
        parameters = list(self.head.parameters())
        self._train(stage, grade, parameters, self._batches(stage, examples))

    def learn_small_print(self, kept: list[Example], detailed: list[Example]) -> None:
        """Train the whole on pictures with their parts behind them, most of a batch as before."""
        recipe = self.recipe
        # What could converse, for `remember`.
        self.before = self.before or {k: v.clone() for k, v in self.model.state_dict().items()}
        mixture = [(kept, recipe.kept_batch), (detailed, recipe.detail_batch)]
        self._learn_mixture("detail", recipe.detail_steps, mixture)

    def learn_small_letters(
        self, kept: list[Example], smaller: list[Example], detailed: list[Example]
    ) -> None:
        """Train on, with panels at one look whose letters are as small as in a part, too."""
        recipe = self.recipe
        before = recipe.kept_batch - recipe.detail_batch
        mixture = [(kept, before), (smaller, recipe.letters_batch), (detailed, recipe.detail_batch)]
        self._learn_mixture("letters", recipe.letters_steps, mixture)

    def remember(self) -> None:
        """Average the weights with those from before small print, which saves what was forgotten.

        Both lie in one basin, so that their mean has the skills of both (Wortsman et al. 2022,
        Robust fine-tuning of zero-shot models).
        """
        share, before = self.recipe.new_share, self.before or {}
        after = self.model.state_dict()
        self.model.load_state_dict(
            {name: share * after[name] + (1 - share) * old for name, old in before.items()}
        )

    def _learn_mixture(
        self, name: str, steps: int, mixture: list[tuple[list[Example], int]]
    ) -> None:
        """Train the whole on so many of each kind of examples a step, graded kind by kind."""

        def grade(
            batches: tuple[list[Example], ...], generator: torch.Generator, rng: Random
        ) -> list[Graded]:
            return [
                one for batch in batches for one in self._talk(batch, generator, rng, MORE_PHRASES)
            ]

        stages = [Stage(name, steps, size, self.recipe.detail_rate) for _, size in mixture]
        batches = zip(
            *(self._batches(stage, one) for stage, (one, _) in zip(stages, mixture, strict=True)),
            strict=True,
        )
        self._train(stages[0], grade, self._all(), batches)

    def _talk(
        self,
        batch: list[Example],
        generator: torch.Generator,
        rng: Random,
        phrases: Phrases = PHRASES,
    ) -> list[Graded]:
        features = see(self.model, pixels_of(batch, generator))
        talks = [
            encode(conversation(one.scene, rng, len(one.pictures), phrases), self.processor)
            for one in batch
        ]
        sight = grade_sight(self.head, features, batch)._replace(weight=SIGHT_SHARE)
        return [grade_answers(self.model, features, batch, talks), sight]

    def _all(self) -> list[nn.Parameter]:
        return [*self.model.parameters(), *self.head.parameters()]

    def _batches(self, stage: Stage, examples: list[Example]) -> Iterator[list[Example]]:
        name = f"{self.recipe.seed} {stage.name}"
        return _batches(examples, stage.batch, name, self._resume_at(stage), stage.steps)

    def _train(
        self,
        stage: Stage,
        grade: Any,
        parameters: list[nn.Parameter],
        batches: Iterable[Any],
    ) -> None:
        """Take the stage's steps; the chance in each depends on seed, stage and step alone."""
        first, name = self._resume_at(stage), f"{self.recipe.seed} {stage.name}"
        rate = stage.rate
        optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.03)
        if self.saved.get("stage") == stage.name and "optimizer" in self.saved:
            optimizer.load_state_dict(self.saved["optimizer"])
        with tqdm(total=stage.steps, initial=first, desc=stage.name, unit="step") as bar:
            for step, batch in enumerate(batches, first):
                generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + step)
                rng = Random(f"{name} {step}")
                grades = grade(batch, generator, rng)
                loss = torch.stack([one.weight * one.loss for one in grades]).sum()
                for group in optimizer.param_groups:
                    group["lr"] = rate * _schedule(step, stage.steps)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(parameters, 1.0)
                optimizer.step()
                bar.update()
                right = " ".join(f"{one.right:.1%}" for one in grades)
                bar.set_postfix(loss=f"{loss:.3f}", right=right)
                if (step + 1) % KEPT_EVERY == 0 or step + 1 == stage.steps:
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
            state |= {"before": self.before} if self.before else {}
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


def train(
    recipe: Recipe, out: Path, checkpoint: Path | None, processes: int, start: Path | None = None
) -> None:
    """Carry out the recipe and write the trained model to `out`.

    `start` is a folder of weights that converse already: they learn small print alone.
    """
    learner = Learner(recipe, checkpoint, start)
    # Scene i depends on seed and i alone: what the stages behind it saw need not be drawn.
    scenes, detail_scenes = recipe.scenes, recipe.detail_scenes
    if learner.has_done("whole", recipe.steps):
        scenes = recipe.kept_scenes
    if learner.has_done("detail", recipe.detail_steps):
        scenes, detail_scenes = recipe.letters_scenes, recipe.letters_detail_scenes
    draw = partial(draw_examples, processes=processes)
    examples = draw(f"{recipe.seed} training", scenes)
    learner.learn_to_see(examples)
    learner.learn_to_converse(examples)
    kept = examples[: recipe.kept_scenes]
    if start:
        learner.learn_to_name(kept)
    detailed = draw(f"{recipe.seed} small print", detail_scenes, sort="detailed")
    learner.learn_small_print(kept, detailed)
    smaller = draw(f"{recipe.seed} small letters", recipe.letters_scenes, sort="smaller")
    learner.learn_small_letters(
        kept[: recipe.letters_scenes], smaller, detailed[: recipe.letters_detail_scenes]
    )
    learner.remember()
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
    parser.add_argument("--from", dest="start", type=Path, help="weights to teach small print only")
    parser.add_argument("--processes", type=int, default=2, help="for drawing")
    parser.add_argument("--count", type=int, default=400, help="held-out scenes a row to measure")
    given = vars(parser.parse_args())
    recipe = Recipe(**{field.name: given[field.name] for field in fields(Recipe)})
    started = time.monotonic()
    train(recipe, given["out"], given["checkpoint"], given["processes"], given["start"])
    print(f"trained in {(time.monotonic() - started) / 60:.0f} minutes")
    report = evaluate(given["out"], given["count"])
    print(report, report.small_print(), sep="\n\n")
    write_report(report, given["out"])


if __name__ == "__main__":
    main()
