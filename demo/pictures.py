"""Draw the example pictures of demo/pictures/ and write down what is true of each."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from demo.drawing import draw
from demo.questions import KINDS, LANGUAGES, ask
from demo.scenes import Scene

PICTURES = Path(__file__).parent / "pictures"
TRUTHS = PICTURES / "truths.json"

# The seeds were chosen by eye, for variety.
SCENES: dict[str, Scene] = {
    "landscape.jpg": Scene("red", "heart", 5, "E42", (640, 480), 2),
    "portrait.jpg": Scene("blue", "star", 3, "H07", (480, 640), 107),
    "square.png": Scene("green", "cross", 6, "F31", (360, 360), 206),
    "large.jpg": Scene("purple", "triangle", 4, "A95", (900, 700), 301),
    "wide.jpg": Scene("yellow", "circle", 2, "U68", (840, 320), 7),
    "tall.jpg": Scene("white", "square", 4, "K20", (320, 800), 102),
    "small.png": Scene("green", "heart", 1, "C59", (192, 144), 204),
    "sparse.jpg": Scene(None, "star", 3, None, (600, 400), 303),
    "fine-print.jpg": Scene("blue", "triangle", 4, "N83", (4000, 3000), 422, share=0.28),
}


def truths() -> list[dict[str, str]]:
    """List every picture's questions, each kind once and in both languages, with true answers.

    What is too small for one look is to be asked with `detail`.
    """
    pairs = []
    for i, (name, scene) in enumerate(SCENES.items()):
        rng = Random(f"pictures {name}")
        for j, kind in enumerate(KINDS):
            language = LANGUAGES[(i + j) % 2]
            question = ask(scene, kind, language, rng, loose=False)
            pair = {"picture": name, "question": question.text, "answer": question.truth}
            pairs.append(pair | ({"detail": "high"} if scene.share < 1 else {}))
    return pairs


def main() -> None:
    """Write the pictures and their truths."""
    PICTURES.mkdir(exist_ok=True)
    for name, scene in SCENES.items():
        draw(scene).save(PICTURES / name, quality=88)  # which PNG ignores
    TRUTHS.write_text(json.dumps(truths(), ensure_ascii=False, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
