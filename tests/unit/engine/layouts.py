"""The released LLaVA-NeXT checkpoints, reduced in size but not in structure.

What differs between them is kept: language model and its ratios, rotary base, context, tokenizer
with its special tokens and their places, chat template, end of an answer. The facts are those of
the llava-hf repositories' config.json, tokenizer_config.json and chat_template.json; templates are
written anew and render the same text.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlamaTokenizer,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextProcessor,
    MistralConfig,
)
from transformers.models.llava_next.image_processing_pil_llava_next import (
    LlavaNextImageProcessorPil,
)

PATCH = 14
TILE = 56  # 336 in the released models: 4 patches a side stand for 24
GRIDS = [[a * TILE, b * TILE] for a, b in ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))]
HEAD = 16  # 128 in the released models
WORDS = 600  # 32,000 or 64,000 in the released models
PAD_TO = 64

# All of a turn's pictures come first, then all of its texts.
PICTURES = "{%- for p in m.content if p.type == 'image' %}{{ '<image>\\n' }}{% endfor %}"
MISTRAL = (
    "{%- for m in messages -%}"
    "{%- if m.role == 'system' -%}{{ '<<SYS>>\\n' + m.content[0].text + '\\n<</SYS>>\\n\\n' }}"
    "{%- elif m.role == 'user' -%}{{ '[INST] ' }}" + PICTURES + "{%- for p in m.content if p.type "
    "== 'text' %}{{ p.text }}{% endfor %}{{ ' [/INST]' }}"
    # The released template writes a backslash, so that no token ends an earlier answer.
    "{%- elif m.role == 'assistant' -%}{{ ' ' + m.content[0].text + '<\\\\s> ' }}"
    "{%- else -%}{{ raise_exception('roles') }}{%- endif -%}{%- endfor -%}"
)
VICUNA = (
    "{%- for m in messages -%}{%- if m.role != 'system' -%}{{ m.role.upper() + ': ' }}"
    "{%- endif -%}" + PICTURES + "{%- for p in m.content if p.type == 'text' %}"
    "{{ p.text + ' ' }}{% endfor %}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ 'ASSISTANT:' }}{%- endif -%}"
)
CHATML = (
    "{%- for m in messages -%}{{ '<|im_start|>' + m.role + '\\n' }}" + PICTURES + "{%- for p in "
    "m.content if p.type == 'text' %}{{ p.text }}{% endfor %}{{ '<|im_end|>' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)
VICUNA_SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the human's questions."
)

LLAMA_WORDS = ("<unk>", "<s>", "</s>")
YI_WORDS = (
    "<unk>",
    "<|startoftext|>",
    "<|endoftext|>",
    "<|Human|>",
    "<|Assistant|>",
    "<|System|>",
    "<|im_start|>",
    "<|im_end|>",
)


@dataclass(frozen=True)
class Layout:
    """One checkpoint's structure: `heads` and `key_heads` of the language model, `mlp` times as
    wide as its hidden size; `first` are the vocabulary's first words, `eos` ends an answer."""

    config: Callable[..., Any]
    heads: int
    key_heads: int
    layers: int
    mlp: float
    rope_theta: float
    context: int
    template: str
    first: tuple[str, ...] = LLAMA_WORDS
    bos: str = "<s>"
    eos: str = "</s>"
    adds_bos: bool = True
    system: str | None = None

    def save(self, folder: Path) -> None:
        """Write a checkpoint with random weights, from torch's seed."""
        tokenizer = self._tokenizer()
        model = self._model(tokenizer)
        model.save_pretrained(folder)
        LlavaNextProcessor(
            image_processor=LlavaNextImageProcessorPil(
                size={"shortest_edge": TILE},
                crop_size={"height": TILE, "width": TILE},
                image_grid_pinpoints=GRIDS,
            ),
            tokenizer=tokenizer,
            patch_size=PATCH,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            chat_template=self.template,
        ).save_pretrained(folder)

    def _tokenizer(self) -> LlamaTokenizer:
        """SentencePiece-like BPE with bytes to fall back on; <image> and <pad> come after it."""
        vocabulary, merges = _learned(self.first)
        tokenizer = LlamaTokenizer(
            vocab=vocabulary,
            merges=merges,
            unk_token="<unk>",
            bos_token=self.bos,
            eos_token=self.eos,
            add_bos_token=self.adds_bos,
            padding_side="left",
            model_max_length=self.context,
        )
        # User-defined pieces of a SentencePiece model become added tokens that are not special.
        for word in self.first[len(LLAMA_WORDS) :]:
            special = word == self.eos
            tokenizer.add_tokens([AddedToken(word, special=special, normalized=False)])
        for word in (*self.first[: len(LLAMA_WORDS)], "<image>"):
            tokenizer.add_tokens([AddedToken(word, special=True, normalized=False)])
        tokenizer.add_special_tokens({"pad_token": "<pad>"})
        return tokenizer

    def _model(self, tokenizer: LlamaTokenizer) -> LlavaNextForConditionalGeneration:
        vision = CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=128,
            num_hidden_layers=4,
            num_attention_heads=2,
            image_size=TILE,
            patch_size=PATCH,
            projection_dim=24,
        )
        ends = {
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        }
        hidden = self.heads * HEAD
        text = self.config(
            vocab_size=-(-len(tokenizer) // PAD_TO) * PAD_TO,
            hidden_size=hidden,
            intermediate_size=int(hidden * self.mlp),
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_heads,
            max_position_embeddings=self.context,
            rope_parameters={"rope_type": "default", "rope_theta": self.rope_theta},
            rms_norm_eps=1e-5,
            tie_word_embeddings=False,
            initializer_range=0.2,  # so that so narrow a model's answers depend on what it is asked
            **({"sliding_window": None} if self.config is MistralConfig else {}),
            **ends,
        )
        config = LlavaNextConfig(
            vision_config=vision,
            text_config=text,
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
            image_grid_pinpoints=GRIDS,
            image_seq_length=(TILE // PATCH) ** 2,
            projector_hidden_act="gelu",
            vision_feature_layer=-2,
            vision_feature_select_strategy="default",
            tie_word_embeddings=False,
        )
        torch.manual_seed(0)
        model = LlavaNextForConditionalGeneration(config)
        model.generation_config = GenerationConfig(**ends)
        return model.eval()


LAYOUTS = {
    "mistral-7b": Layout(MistralConfig, 4, 1, 3, 3.5, 1e6, 32768, MISTRAL),
    "vicuna-7b": Layout(LlamaConfig, 4, 4, 4, 2.6875, 1e4, 4096, VICUNA, system=VICUNA_SYSTEM),
    "vicuna-13b": Layout(LlamaConfig, 5, 5, 5, 2.7, 1e4, 4096, VICUNA, system=VICUNA_SYSTEM),
    "34b": Layout(
        *(LlamaConfig, 7, 1, 3, 2.857, 5e6, 4096, CHATML),
        first=YI_WORDS,
        bos="<|startoftext|>",
        eos="<|im_end|>",
        adds_bos=False,
        system="Answer the questions.",
    ),
}


def _learned(first: tuple[str, ...]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary that begins with these words and all bytes, and the merges of its BPE."""
    byte_words = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", split=True)
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS, special_tokens=[*first, *byte_words], show_progress=False
    )
    texts = [__doc__, VICUNA_SYSTEM, MISTRAL, VICUNA, CHATML, Layout.__doc__]
    tokenizer.train_from_iterator([text or "" for text in texts], trainer)
    merges = [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]
    return tokenizer.get_vocab(), merges
