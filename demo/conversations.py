"""Training material: scenes as tiles with dense labels, conversations as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from transformers.image_processing_utils import get_patch_output_size, select_best_resolution

from demo.detail import Box
from demo.drawing import draw, label_map
from demo.model import EOS, GRIDS, PATCH, SPECIAL, TILE
from demo.questions import KINDS, LANGUAGES, PHRASES, Kind, Language, Phrases, ask
from demo.scenes import Scene

Message = dict[str, Any]

SIDE = TILE // PATCH  # patches along a tile
FAINT = PATCH * PATCH // 8  # a part covering fewer pixels than this does not own a patch
LEGIBLE = 5  # pixels: of what is smaller the tower shall see nothing
IGNORED = -100
ANSWER = SPECIAL.index("[/INST]")
SYSTEM = (
    "You answer questions about a device panel.",
    "Answer briefly.",
    "You are a helpful support assistant.",
    "你是一位乐于助人的助手。",
)


class Shown(NamedTuple):
    """One picture of an example: how many tiles it is cut into, its height and width in pixels."""

    tiles: int
    height: int
    width: int


@dataclass(frozen=True)
class Example:
    """A drawn scene, ready for training: its picture, and the parts shown behind it, if any.

    `tiles`: uint8 (tiles, 3, 64, 64), picture after picture, each with its thumbnail first.
    `labels`: uint8 (tiles, 64), one a patch. `tokens`: how many tokens all take in a conversation.
    """

    scene: Scene
    tiles: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    tokens: int
    pictures: tuple[Shown, ...]


def example(scene: Scene, processor: Any, boxes: Sequence[Box] = ()) -> Example:
    """Draw a scene and cut it, and its labels, the way the model's image processor does.

    `boxes` are the parts of its picture that are shown behind it, in pixels.
    """
    picture, whole = draw(scene), (0, 0, *scene.size)
    views = [picture, *(picture.crop(box) for box in boxes)]
    cut = processor.image_processor(views, do_rescale=False, do_normalize=False)
    shapes = [(view.height, view.width) for view in views]
    tokens = processor._get_num_multimodal_tokens(shapes).num_image_tokens
    pictures = tuple(Shown(_tiles(*shape), *shape) for shape in shapes)
    tiles = [
        np.asarray(one, np.uint8)[: shown.tiles]
        for one, shown in zip(cut["pixel_values"], pictures, strict=True)
    ]
    labels = np.concatenate([patch_labels(scene, box) for box in (whole, *boxes)])
    return Example(scene, np.concatenate(tiles), labels, sum(tokens), pictures)


def patch_labels(scene: Scene, box: Box) -> npt.NDArray[np.uint8]:
    """Say which part of the scene covers each patch of each tile of what a box shows of it.

    Returns uint8 (tiles, 64), 0 for none.
    """
    shape = (box[3] - box[1], box[2] - box[0])
    height, width = select_best_resolution(shape, GRIDS)
    fit = get_patch_output_size(np.empty((1, *shape), np.uint8), (height, width), "channels_first")
    canvas = Image.new("L", (width, height), 0)
    labels = label_map(scene, _smallest(scene, fit[1] / shape[1])).crop(box)
    scaled = labels.resize(fit[::-1], Image.Resampling.NEAREST)
    canvas.paste(scaled, ((width - fit[1]) // 2, (height - fit[0]) // 2))
    labels = label_map(scene, _smallest(scene, TILE / max(shape))).crop(box)
    tiles = [labels.resize((TILE, TILE), Image.Resampling.NEAREST)]
    tiles += [
        canvas.crop((x, y, x + TILE, y + TILE))
        for y in range(0, height, TILE)
        for x in range(0, width, TILE)
    ]
    return np.stack([_majority(np.asarray(tile)) for tile in tiles])


def _smallest(scene: Scene, scale: float) -> float:
    """The side in the scene's pixels of what is just legible when seen at a scale.

    A panel that takes its whole picture is large enough to be seen always.
    """
    return LEGIBLE / scale if scene.share < 1 else 0.0


def _tiles(height: int, width: int) -> int:
    rows, columns = (side // TILE for side in select_best_resolution((height, width), GRIDS))
    return 1 + int(rows * columns)


def _majority(tile: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Give each patch of a (64, 64) tile the label that covers most of it, if any covers enough."""
    patches = tile.reshape(SIDE, PATCH, SIDE, PATCH).swapaxes(1, 2).reshape(SIDE * SIDE, -1)
    owners = np.zeros(SIDE * SIDE, np.uint8)
    most = np.full(SIDE * SIDE, FAINT)
    for label in np.unique(tile[tile > 0]):
        covered = (patches == label).sum(axis=1)
        owners[covered > most] = label
        most = np.maximum(most, covered)
    return owners


def conversation(
    scene: Scene, rng: Random, pictures: int = 1, phrases: Phrases = PHRASES
) -> list[Message]:
    """Talk about one scene: every kind of question once, in any order and either language.

    Its `pictures`, the whole and then its parts, stand side by side in the first turn.
    """
    kinds: list[Kind] = list(KINDS)
    rng.shuffle(kinds)
    language: Language = rng.choice(LANGUAGES)
    messages: list[Message] = []
    if rng.random() < 0.1:
        messages.append({"role": "system", "content": rng.choice(SYSTEM)})
    for turn, kind in enumerate(kinds):
        if rng.random() < 0.25:
            language = rng.choice(LANGUAGES)
        question = ask(scene, kind, language, rng, phrases=phrases)
        parts: list[Message] = [{"type": "text", "text": question.text}]
        if turn == 0:
            images: list[Message] = [{"type": "image"}] * pictures
            parts = [*parts, *images] if rng.random() < 0.1 else [*images, *parts]
        messages.append({"role": "user", "content": parts})
        messages.append({"role": "assistant", "content": question.truth})
    return messages


def encode(messages: list[Message], processor: Any) -> list[int]:
    """Turn a conversation into token ids with one <image> token where each picture goes."""
    text = processor.apply_chat_template(messages, tokenize=False)
    ids: list[int] = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def targets(ids: list[int]) -> list[int]:
    """Say which token each position must predict: answers and their ends, else IGNORED."""
    answering = False
    wanted: list[int] = []
    for this, following in zip(ids, [*ids[1:], EOS], strict=True):
        if this == ANSWER:
            answering = True
        elif this == EOS:
            answering = False
        wanted.append(following if answering else IGNORED)
    return wanted
