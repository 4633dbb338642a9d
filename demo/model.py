"""The demo model before training: LLaVA-NeXT as released, only small, and its processor."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPVisionConfig,
    GenerationConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextProcessor,
    MistralConfig,
    PreTrainedTokenizerFast,
)
from transformers.models.llava_next.image_processing_pil_llava_next import (
    LlavaNextImageProcessorPil,
)

from demo import questions
from demo.scenes import COLOURS, DIGITS, LETTERS, MOST_BUTTONS, SHAPES, Scene

WEIGHTS = Path(__file__).parent / "weights"

TILE = 64
PATCH = 8
# The five shapes of the released LLaVA-NeXT models, as (height, width) in tiles.
GRIDS = [
    [rows * TILE, columns * TILE] for rows, columns in ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
]

SPECIAL = ("<s>", "</s>", "<unk>", "<pad>", "<image>", "[INST]", "[/INST]")
BOS, EOS, UNK, PAD, IMAGE = range(5)
ROLES = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "extra_special_tokens": {"image_token": "<image>"},
}

# Mistral's format. System text opens the first question, since the format has no place for it.
CHAT_TEMPLATE = """\
{%- macro words(content) -%}
{%- if content is string -%}{{ content }}{%- else -%}
{%- for part in content -%}
{%- if part['type'] == 'image' -%}<image>{{ '\\n' if not loop.last }}
{%- elif part['type'] == 'text' -%}{{ part['text'] }}
{{- '\\n' if not loop.last and loop.nextitem['type'] == 'image' }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{{- bos_token -}}
{%- set state = namespace(system='') -%}
{%- for message in messages -%}
{%- if message['role'] == 'system' -%}
{%- set state.system = words(message['content']) + '\\n\\n' -%}
{%- elif message['role'] == 'user' -%}
{{- '[INST] ' + state.system + words(message['content']) + ' [/INST]' -}}
{%- set state.system = '' -%}
{%- elif message['role'] == 'assistant' -%}
{{- ' ' + words(message['content']) + eos_token -}}
{%- else -%}
{{- raise_exception('Unknown role: ' + message['role']) -}}
{%- endif -%}
{%- endfor -%}"""


def new_model() -> LlavaNextForConditionalGeneration:
    """Build the model with random float32 weights, from torch's seed: 2 million parameters."""
    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=5,  # the projector reads layer -2, so four of them count
        num_attention_heads=4,
        image_size=TILE,
        patch_size=PATCH,
        hidden_act="gelu",
        projection_dim=128,
    )
    text = MistralConfig(
        vocab_size=len(new_tokenizer()),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        sliding_window=None,
        tie_word_embeddings=False,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    config = LlavaNextConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=IMAGE,
        image_grid_pinpoints=GRIDS,
        image_seq_length=(TILE // PATCH) ** 2,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
        pad_token_id=PAD,
    )
    model = LlavaNextForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD, do_sample=False, max_new_tokens=32
    )
    return model


def new_processor() -> LlavaNextProcessor:
    """Build the processor: pixels by pillow alone, text by our own tokenizer and chat template."""
    return LlavaNextProcessor(
        image_processor=LlavaNextImageProcessorPil(
            size={"shortest_edge": TILE},
            crop_size={"height": TILE, "width": TILE},
            image_grid_pinpoints=GRIDS,
        ),
        tokenizer=new_tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def new_tokenizer() -> PreTrainedTokenizerFast:
    """Train the byte-level BPE tokenizer on our questions and answers; always the same result.

    Every digit, code letter and Chinese character is at most one token, and any Unicode text
    survives the round trip, because all 256 bytes are in the vocabulary.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d|[A-Z](?=\d)|\p{Han}|\p{P}|\n"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    # The answer starts right after [/INST], so that its first word has no leading space.
    special = [
        AddedToken(word, special=True, lstrip=word == "[/INST]", rstrip="INST" in word)
        for word in SPECIAL
    ]
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **ROLES,
        padding_side="left",
        model_max_length=8192,
        clean_up_tokenization_spaces=False,
    )


def _corpus() -> list[str]:
    """Spell out every phrasing with every name, and every answer."""
    lines = [f"{letter}{tens}{ones}" for letter, tens, ones in product(LETTERS, DIGITS, DIGITS)]
    for phrases in (questions.PHRASES, questions.HELD_OUT_PHRASES):
        for key, forms in phrases.items():
            texts = [form.format(name) for form in forms for name in questions.NAMES[key]]
            lines += texts + [text.lower() for text in texts]
    values = product(
        (*COLOURS, None),
        (*SHAPES, None),
        range(MOST_BUTTONS + 1),
        ("A", None),
    )
    for light, icon, buttons, code in values:
        scene = Scene(light, icon, buttons, code, (1, 1), 0)
        lines += [questions.truth(scene, kind, "en") for kind in questions.KINDS]
        lines += [questions.truth(scene, kind, "zh") for kind in questions.KINDS]
    return lines
