"""Measure the demo model on scenes it has never seen, the way a caller would use it."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from pathlib import Path
from random import Random
from typing import Any

import torch
from PIL import Image
from tqdm import tqdm
from transformers import LlavaNextForConditionalGeneration, LlavaNextProcessor

from demo.detail import MOST, crops, letter_height, small_print
from demo.drawing import draw
from demo.model import WEIGHTS
from demo.questions import (
    HELD_OUT_PHRASES,
    KINDS,
    LANGUAGES,
    PHRASES,
    UNSEEN,
    Kind,
    Language,
    Question,
    ask,
)
from demo.scenes import Scene, random_scene

BATCH = 32
BATCH_IN_DETAIL = 1  # long prompts of unequal length: padding costs more than a batch saves
SMALL_PRINT = (7.0, 9.0)  # pixels that a letter is high at one look
REPORT = "accuracy.json"
HEADER = "| kind | language | right | right with phrasings never trained on |\n|---|---|---|---|"
SMALL_HEADER = "| small print | language | right in detail | right at one look |\n|---|---|---|---|"


@dataclass(frozen=True)
class Row:
    """Accuracy for one kind of question in one language: shares of answers equal to the truth."""

    kind: str
    language: str
    right: float
    new_phrasings: float


@dataclass(frozen=True)
class SmallRow:
    """Accuracy on panels that are small in a large picture: with its parts shown, and without."""

    kind: str
    language: str
    in_detail: float
    at_one_look: float


@dataclass(frozen=True)
class Report:
    """What one evaluation found: `count` scenes a row, and `follow_ups` later turns in all.

    `small` are of `small_count` scenes each, and so is `needless_right`: ordinary scenes that are
    shown with their parts although none is needed.
    """

    count: int
    rows: list[Row]
    follow_ups: int
    follow_ups_right: float
    small_count: int
    small: list[SmallRow]
    needless_right: float

    def __str__(self) -> str:
        later = f"{self.follow_ups_right:.1%} of {self.follow_ups}"
        return f"{self.table()}\n\nRight in later turns of conversations: {later}."

    def table(self) -> str:
        """Render the rows as a Markdown table."""
        lines = [
            f"| {row.kind} | {row.language} | {row.right:.1%} | {row.new_phrasings:.1%} |"
            for row in self.rows
        ]
        return "\n".join([HEADER, *lines])

    def small_print(self) -> str:
        """Render what was found with detail as Markdown."""
        lines = [
            f"| {row.kind} | {row.language} | {row.in_detail:.1%} | {row.at_one_look:.1%} |"
            for row in self.small
        ]
        needless = f"{self.needless_right:.1%} of {self.small_count}"
        after = f"Right on ordinary pictures that are shown in detail all the same: {needless}."
        return "\n".join([SMALL_HEADER, *lines, "", after])


def load(folder: Path) -> tuple[Any, Any]:
    """Load (model, processor) from a folder, offline, with nothing but transformers."""
    model = LlavaNextForConditionalGeneration.from_pretrained(folder, local_files_only=True)
    return model.eval(), LlavaNextProcessor.from_pretrained(folder, local_files_only=True)


def user(text: str, *pictures: Image.Image) -> dict[str, Any]:
    """Build the chat message of a user, with pictures if it opens the conversation."""
    shown = [{"type": "image", "image": picture} for picture in pictures]
    return {"role": "user", "content": [*shown, {"type": "text", "text": text}]}


def in_detail(picture: Image.Image) -> list[Image.Image]:
    """List a picture and its parts, as `detail: "high"` has a model see them."""
    return [picture, *(picture.crop(box) for box in crops(*picture.size))]


def answer(model: Any, processor: Any, conversations: list[list[dict[str, Any]]]) -> list[str]:
    """Answer the last question of each conversation, greedily, in one batch."""
    inputs = processor.apply_chat_template(
        conversations,
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
        sanitize_control_tokens=True,
        processor_kwargs={"padding": True},
    )
    with torch.inference_mode():
        output = model.generate(**inputs)
    words = output[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in processor.batch_decode(words, skip_special_tokens=True)]


def held_out(
    kind: Kind, language: Language, *, new: bool = False, small: bool = False
) -> Iterator[tuple[Scene, Question]]:
    """Yield scenes that training never draws, each with a question of this kind.

    What is asked for is there, unless the kind is "absent". `new` takes untrained phrasings;
    `small` puts the panel into a large picture, with print that is too small for one look.
    """
    rng = Random(f"examination {kind} {language} {new}{' small' if small else ''}")
    phrases = HELD_OUT_PHRASES if new else PHRASES
    while True:
        scene = _small(rng) if small else random_scene(rng)
        question = ask(scene, kind, language, rng, phrases=phrases)
        if (question.truth == UNSEEN[language]) == (kind == "absent"):
            yield scene, question


def _small(rng: Random) -> Scene:
    scene = small_print(rng, MOST, 1.0, 1.0)
    smaller = rng.uniform(*SMALL_PRINT) / letter_height(scene)
    return replace(scene, share=min(1.0, smaller * scene.share))


def share_right(
    model: Any, processor: Any, cases: Iterable[tuple[Scene, Question]], *, detail: bool = False
) -> float:
    """Ask each question about its scene's picture; return the share answered exactly.

    `detail` shows the parts of each picture, too.
    """
    queue = iter(cases)
    right = count = 0
    while batch := list(islice(queue, BATCH_IN_DETAIL if detail else BATCH)):
        drawn = [draw(scene) for scene, _ in batch]
        shown = [in_detail(picture) if detail else [picture] for picture in drawn]
        talks = [[user(case[1].text, *views)] for case, views in zip(batch, shown, strict=True)]
        answers = answer(model, processor, talks)
        right += sum(
            said == question.truth for said, (_, question) in zip(answers, batch, strict=True)
        )
        count += len(batch)
    return right / count


def follow_ups_right(model: Any, processor: Any, count: int) -> float:
    """Hold `count` conversations of one question a kind, the model's own answers in between.

    Returns the share of the answers after the first that are right.
    """
    right = 0
    for i in range(0, count, BATCH):
        rngs = [Random(f"examination talk {j}") for j in range(i, min(i + BATCH, count))]
        scenes = [random_scene(rng) for rng in rngs]
        orders = [rng.sample(KINDS, len(KINDS)) for rng in rngs]
        talks: list[list[dict[str, Any]]] = [[] for _ in rngs]
        for turn in range(len(KINDS)):
            truths = []
            for talk, rng, scene, order in zip(talks, rngs, scenes, orders, strict=True):
                question = ask(scene, order[turn], rng.choice(LANGUAGES), rng)
                talk.append(user(question.text, *([] if turn else [draw(scene)])))
                truths.append(question.truth)
            answers = answer(model, processor, talks)
            for talk, said in zip(talks, answers, strict=True):
                talk.append({"role": "assistant", "content": said})
            if turn:
                right += sum(said == true for said, true in zip(answers, truths, strict=True))
    return right / (count * (len(KINDS) - 1))


def evaluate(folder: Path, count: int) -> Report:
    """Measure every kind in both languages on `count` held-out scenes each."""
    model, processor = load(folder)
    rows = []
    asked = [(kind, language) for kind in KINDS for language in LANGUAGES]
    for kind, language in tqdm(asked):
        known, new = (
            share_right(model, processor, islice(held_out(kind, language, new=new), size))
            for new, size in ((False, count), (True, max(1, count // 4)))
        )
        rows.append(Row(kind, language, known, new))
    fewer = max(1, count // 4)
    later = follow_ups_right(model, processor, fewer)
    small, fewest = [], max(1, count // 8)
    for kind, language in tqdm(asked):
        cases = list(islice(held_out(kind, language, small=True), fewest))
        shares = (share_right(model, processor, cases, detail=detail) for detail in (True, False))
        small.append(SmallRow(kind, language, *shares))
    mixed = chain.from_iterable(zip(*(held_out(*one) for one in asked), strict=True))
    needless = share_right(model, processor, islice(mixed, fewest), detail=True)
    return Report(count, rows, fewer * (len(KINDS) - 1), later, fewest, small, needless)


def read_report(folder: Path) -> Report:
    """Read the report that was last written beside the weights."""
    stored = json.loads((folder / REPORT).read_text("utf-8"))
    stored["rows"] = [Row(**row) for row in stored["rows"]]
    stored["small"] = [SmallRow(**row) for row in stored["small"]]
    return Report(**stored)


def write_report(report: Report, folder: Path) -> None:
    """Write the report beside the weights, and its tables into their card if there is one.

    The card keeps its own words; only the tables and the line under each are replaced.
    """
    (folder / REPORT).write_text(json.dumps(asdict(report), indent=1) + "\n", "utf-8")
    card = folder / "README.md"
    if card.exists():
        words = card.read_text("utf-8")
        for header, new in ((HEADER, str(report)), (SMALL_HEADER, report.small_print())):
            old = re.escape(header) + r"(\n\|.*)*\n\nRight .*"
            words = re.sub(old, new, words)
        card.write_text(words, "utf-8")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.evaluate",
        description=__doc__,
        epilog="example: python -m demo.evaluate --count 400",
    )
    parser.add_argument("--model", type=Path, default=WEIGHTS, help="folder with the model")
    parser.add_argument("--count", type=int, default=400, help="scenes a kind and language")
    parser.add_argument("--dry", action="store_true", help="print only, write no report")
    given = parser.parse_args()
    report = evaluate(given.model, given.count)
    print(report, report.small_print(), sep="\n\n")
    if not given.dry:
        write_report(report, given.model)


if __name__ == "__main__":
    main()
