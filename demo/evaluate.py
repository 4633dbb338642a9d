"""Measure the demo model on scenes it has never seen, the way a caller would use it."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import torch
from tqdm import tqdm
from transformers import LlavaNextForConditionalGeneration, LlavaNextProcessor

from demo.drawing import draw
from demo.model import WEIGHTS
from demo.questions import KINDS, LANGUAGES, UNSEEN, Kind, Language, Question, ask
from demo.scenes import Scene, random_scene

BATCH = 32
REPORT = "accuracy.json"
HEADER = "| kind | language | right | right with phrasings never trained on |\n|---|---|---|---|"


@dataclass(frozen=True)
class Row:
    """Accuracy for one kind of question in one language: shares of answers equal to the truth."""

    kind: str
    language: str
    right: float
    new_phrasings: float


@dataclass(frozen=True)
class Report:
    """What one evaluation found: `count` scenes a row, and `follow_ups` later turns in all."""

    count: int
    rows: list[Row]
    follow_ups: int
    follow_ups_right: float

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


def load(folder: Path) -> tuple[Any, Any]:
    """Load (model, processor) from a folder, offline, with nothing but transformers."""
    model = LlavaNextForConditionalGeneration.from_pretrained(folder, local_files_only=True)
    return model.eval(), LlavaNextProcessor.from_pretrained(folder, local_files_only=True)


def user(text: str, picture: Any = None) -> dict[str, Any]:
    """Build the chat message of a user, with a PIL picture if it opens the conversation."""
    parts: list[dict[str, Any]] = [{"type": "text", "text": text}]
    if picture is not None:
        parts.insert(0, {"type": "image", "image": picture})
    return {"role": "user", "content": parts}


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
    kind: Kind, language: Language, *, new: bool = False
) -> Iterator[tuple[Scene, Question]]:
    """Yield scenes that training never draws, each with a question of this kind.

    What is asked for is there, unless the kind is "absent". `new` takes untrained phrasings.
    """
    rng = Random(f"evaluation {kind} {language} {new}")
    while True:
        scene = random_scene(rng)
        question = ask(scene, kind, language, rng, held_out=new)
        if (question.truth == UNSEEN[language]) == (kind == "absent"):
            yield scene, question


def share_right(model: Any, processor: Any, cases: Iterable[tuple[Scene, Question]]) -> float:
    """Ask each question about its scene's picture; return the share answered exactly."""
    queue = iter(cases)
    right = count = 0
    while batch := list(islice(queue, BATCH)):
        talks = [[user(question.text, draw(scene))] for scene, question in batch]
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
        rngs = [Random(f"evaluation talk {j}") for j in range(i, min(i + BATCH, count))]
        scenes = [random_scene(rng) for rng in rngs]
        orders = [rng.sample(KINDS, len(KINDS)) for rng in rngs]
        talks: list[list[dict[str, Any]]] = [[] for _ in rngs]
        for turn in range(len(KINDS)):
            truths = []
            for talk, rng, scene, order in zip(talks, rngs, scenes, orders, strict=True):
                question = ask(scene, order[turn], rng.choice(LANGUAGES), rng)
                talk.append(user(question.text, None if turn else draw(scene)))
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
    for kind, language in tqdm([(kind, language) for kind in KINDS for language in LANGUAGES]):
        known, new = (
            share_right(model, processor, islice(held_out(kind, language, new=new), size))
            for new, size in ((False, count), (True, max(1, count // 4)))
        )
        rows.append(Row(kind, language, known, new))
    talks = max(1, count // 4)
    later = follow_ups_right(model, processor, talks)
    return Report(count, rows, talks * (len(KINDS) - 1), later)


def read_report(folder: Path) -> Report:
    """Read the report that was last written beside the weights."""
    stored = json.loads((folder / REPORT).read_text("utf-8"))
    return Report(**{**stored, "rows": [Row(**row) for row in stored["rows"]]})


def write_report(report: Report, folder: Path) -> None:
    """Write the report beside the weights, and its table into their card if there is one.

    The card keeps its own words; only the table and the line under it are replaced.
    """
    (folder / REPORT).write_text(json.dumps(asdict(report), indent=1) + "\n", "utf-8")
    card = folder / "README.md"
    if card.exists():
        old = re.escape(HEADER) + r"(\n\|.*)*\n\nRight in later turns.*"
        card.write_text(re.sub(old, str(report), card.read_text("utf-8")), "utf-8")


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
    print(report)
    if not given.dry:
        write_report(report, given.model)


if __name__ == "__main__":
    main()
