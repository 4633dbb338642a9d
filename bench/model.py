"""The model of the measurements: LLaVA-NeXT in the shape of the released mistral one, only small.

Its weights are random, drawn from a fixed seed. Speed does not depend on their values; two things
about answers do and are arranged here. Every answer runs to its `max_new_tokens`, because the rows
of the end-of-sequence token and its like in the output matrix are zero and so never win. And every
answer depends on its picture, because the weights are drawn wider than for training.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import torch
from transformers import (
    CLIPVisionConfig,
    GenerationConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextProcessor,
    MistralConfig,
)
from transformers.models.llava_next.image_processing_pil_llava_next import (
    LlavaNextImageProcessorPil,
)

from bench.shape import SMALL, Shape
from demo.model import BOS, CHAT_TEMPLATE, EOS, IMAGE, PAD, SPECIAL, new_tokenizer

_SEED = 20
_BYTES = 256
"""Tokens after the special ones that are single bytes: not every row of them is readable text."""


def write_model(folder: Path, shape: Shape = SMALL) -> Path:
    """Write a checkpoint of a shape into a folder that holds none yet, and return the folder."""
    if not (folder / "config.json").exists():
        processor(shape).save_pretrained(folder)
        new_model(shape).save_pretrained(folder)
    return folder


def new_model(shape: Shape) -> LlavaNextForConditionalGeneration:
    """Build the model with random weights, always the same, in torch's default dtype and device."""
    torch.manual_seed(_SEED)
    model = LlavaNextForConditionalGeneration(configuration(shape))
    model.generation_config = GenerationConfig(
        bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD, do_sample=False
    )
    readable = range(len(SPECIAL) + _BYTES, len(new_tokenizer()))
    with torch.no_grad():
        model.lm_head.weight[: readable.start] = 0
        model.lm_head.weight[readable.stop :] = 0
    return model.eval()


def configuration(shape: Shape) -> LlavaNextConfig:
    """Return the configuration of a model of a shape."""
    vision = CLIPVisionConfig(
        hidden_size=shape.vision_hidden,
        intermediate_size=4 * shape.vision_hidden,
        num_hidden_layers=shape.vision_layers,
        num_attention_heads=shape.vision_heads,
        image_size=shape.tile,
        patch_size=shape.patch,
        projection_dim=shape.vision_hidden,
    )
    text = MistralConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.context,
        sliding_window=None,
        tie_word_embeddings=False,
        initializer_range=shape.initial_std,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    return LlavaNextConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=IMAGE,
        image_grid_pinpoints=grids(shape),
        image_seq_length=shape.tile_tokens,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
        pad_token_id=PAD,
    )


def processor(shape: Shape) -> LlavaNextProcessor:
    """Build the processor: pixels by pillow alone, text by the demo's tokenizer and template."""
    return LlavaNextProcessor(
        image_processor=LlavaNextImageProcessorPil(
            size={"shortest_edge": shape.tile},
            crop_size={"height": shape.tile, "width": shape.tile},
            image_grid_pinpoints=grids(shape),
        ),
        tokenizer=new_tokenizer(),
        patch_size=shape.patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def grids(shape: Shape) -> list[list[int]]:
    """Return the five grids of the released models, as (height, width) in pixels."""
    released = [(r, c) for r, c in product((1, 2, 3), (1, 2, 3)) if 1 < r * c < 5]
    return [[rows * shape.tile, columns * shape.tile] for rows, columns in released]
