"""All the examples of a training, drawn in parallel processes."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from random import Random
from typing import Any, Literal

from tqdm import tqdm

from demo.conversations import Example, example
from demo.detail import MOST, crops, small_print
from demo.model import new_processor
from demo.scenes import random_scene

Sort = Literal["ordinary", "smaller", "detailed"]

CHUNK = 100  # scenes that one process draws at a time


def draw_examples(
    seed: str, count: int, sort: Sort = "ordinary", processes: int = 2
) -> list[Example]:
    """Draw `count` scenes in parallel processes; scene i depends on `seed` and i alone.

    "smaller" panels do not take their whole picture; "detailed" are large pictures, shown with the
    parts in which their small print is legible.
    """
    starts = range(0, count, CHUNK)
    # A forked child would inherit torch's threads in an unknown state.
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        chunks = pool.map(partial(_draw_chunk, seed, sort), starts)
        bar = tqdm(chunks, total=len(starts), desc="drawing", unit=f"x{CHUNK}")
        return [one for chunk in bar for one in chunk][:count]


def _draw_chunk(seed: str, sort: Sort, first: int) -> list[Example]:
    processor = new_processor()
    rngs = (Random(f"{seed} {i}") for i in range(first, first + CHUNK))
    return [SORTS[sort](rng, processor) for rng in rngs]


def _ordinary(rng: Random, processor: Any) -> Example:
    return example(random_scene(rng), processor)


def _smaller(rng: Random, processor: Any) -> Example:
    return example(replace(random_scene(rng), share=rng.uniform(0.45, 0.9)), processor)


def _in_detail(rng: Random, processor: Any) -> Example:
    """Draw a picture and its parts: mostly few, which are quick, and mostly with small print."""
    most = rng.choice((2, 3, 4, 4, 6, MOST))
    scene = small_print(rng, most, 0.5, 1.1 if rng.random() < 0.7 else 3.0)
    return example(scene, processor, crops(*scene.size, most))


SORTS = {"ordinary": _ordinary, "smaller": _smaller, "detailed": _in_detail}
