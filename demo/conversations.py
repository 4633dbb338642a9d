"""Training material: scenes as tiles with dense labels, conversations as token ids."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from transformers.image_processing_utils import get_patch_output_size, select_best_resolution

from demo.drawing import draw, label_map
from demo.model import EOS, GRIDS, PATCH, SPECIAL, TILE
from demo.questions import KINDS, LANGUAGES, Kind, Language, ask
from demo.scenes import Scene

Message = dict[str, Any]

SIDE = TILE // PATCH  # patches along a tile
FAINT = PATCH * PATCH // 8  # a part covering fewer pixels than this does not own a patch
IGNORED = -100
ANSWER = SPECIAL.index("[/INST]")
SYSTEM = (
    "You answer questions about a device panel.",
    "Answer briefly.",
    "You are a helpful support assistant.",
    "你是一位乐于助人的助手。",
)


@dataclass(frozen=True)
class Example:
    """A drawn scene, ready for training.

    `tiles`: uint8 (tiles, 3, 64, 64), thumbnail first. `labels`: uint8 (tiles, 64), one a patch.
    `tokens`: how many tokens the picture takes in a conversation.
    """

    scene: Scene
    tiles: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    tokens: int


def example(scene: Scene, processor: Any) -> Example:
    """Draw a scene and cut it, and its labels, the way the model's image processor does."""
    cut = processor.image_processor(draw(scene), do_rescale=False, do_normalize=False)
    tokens = processor._get_num_multimodal_tokens([scene.size[::-1]]).num_image_tokens[0]
    tiles = np.asarray(cut["pixel_values"][0], np.uint8)
    return Example(scene, tiles, patch_labels(scene), tokens)


def patch_labels(scene: Scene) -> npt.NDArray[np.uint8]:
    """Say which part of the scene covers each patch of each tile: uint8 (tiles, 64), 0 for none."""
    labels = label_map(scene)
    shape = (scene.size[1], scene.size[0])
    height, width = select_best_resolution(shape, GRIDS)
    fit = get_patch_output_size(np.empty((1, *shape), np.uint8), (height, width), "channels_first")
    canvas = Image.new("L", (width, height), 0)
    scaled = labels.resize(fit[::-1], Image.Resampling.NEAREST)
    canvas.paste(scaled, ((width - fit[1]) // 2, (height - fit[0]) // 2))
    tiles = [labels.resize((TILE, TILE), Image.Resampling.NEAREST)]
    tiles += [
        canvas.crop((x, y, x + TILE, y + TILE))
        for y in range(0, height, TILE)
        for x in range(0, width, TILE)
    ]
    return np.stack([_majority(np.asarray(tile)) for tile in tiles])


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


def conversation(scene: Scene, rng: Random) -> list[Message]:
    """Talk about one picture: every kind of question once, in any order and either language."""
    kinds: list[Kind] = list(KINDS)
    rng.shuffle(kinds)
    language: Language = rng.choice(LANGUAGES)
    messages: list[Message] = []
    if rng.random() < 0.1:
        messages.append({"role": "system", "content": rng.choice(SYSTEM)})
    for turn, kind in enumerate(kinds):
        if rng.random() < 0.25:
            language = rng.choice(LANGUAGES)
        question = ask(scene, kind, language, rng)
        parts: list[Message] = [{"type": "text", "text": question.text}]
        if turn == 0:
            parts.insert(1 if rng.random() < 0.1 else 0, {"type": "image"})
        messages.append({"role": "user", "content": parts})
        messages.append({"role": "assistant", "content": question.truth})
    return messages


def encode(messages: list[Message], processor: Any) -> list[int]:
    """Turn a conversation into token ids with one <image> token where the picture goes."""
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
