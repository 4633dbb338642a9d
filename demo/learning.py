"""What one training step computes: what the tower sees, what the decoder says, and both losses."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from demo.conversations import IGNORED, Example, targets
from demo.model import IMAGE
from demo.scenes import LABELS

BARE_WEIGHT = 0.3  # four patches in five show nothing: they must not drown the rest


class Graded(NamedTuple):
    """A loss, the share of what it grades that is right, and the loss's weight among others."""

    loss: Tensor
    right: float
    weight: float = 1.0


def see(model: Any, pixels: Tensor) -> Tensor:
    """Run the tower up to the layer that the projector reads.

    Takes tiles (n, 3, 64, 64) of levels 0 to 255; returns features (n, 64, width). The last layer
    is skipped, since nothing reads it: otherwise this is what `get_image_features` computes.
    """
    mean = torch.tensor(OPENAI_CLIP_MEAN).view(1, 3, 1, 1)
    deviation = torch.tensor(OPENAI_CLIP_STD).view(1, 3, 1, 1)
    tower = model.model.vision_tower
    hidden = tower.pre_layrnorm(tower.embeddings((pixels / 255 - mean) / deviation))
    for layer in tower.encoder.layers[:-1]:
        hidden = layer(hidden, attention_mask=None)
    features: Tensor = hidden[:, 1:]
    return features


def pixels_of(examples: list[Example], generator: torch.Generator | None = None) -> Tensor:
    """Stack the tiles of all examples, (n, 3, 64, 64) of levels 0 to 255.

    A generator varies exposure and grain, so that a scene met again is not the same picture.
    """
    pixels = torch.from_numpy(np.concatenate([one.tiles for one in examples])).float()
    if generator is None:
        return pixels
    gain = 1 + 0.06 * torch.randn((len(pixels), 3, 1, 1), generator=generator)
    grain = 3 * torch.randn((len(pixels), 1, *pixels.shape[2:]), generator=generator)
    return (pixels * gain + grain).clamp(0, 255)


def grade_sight(head: nn.Module, features: Tensor, examples: list[Example]) -> Graded:
    """Compare what the tower makes of each patch with what was drawn there.

    Takes features (n, 64, width). Patches with nothing on them weigh less in the loss and do not
    count in the share.
    """
    logits = head(features).flatten(0, 1).float()
    labels = torch.from_numpy(np.concatenate([one.labels for one in examples])).flatten().long()
    weight = torch.ones(LABELS)
    weight[0] = BARE_WEIGHT
    shown = labels > 0
    right = (logits.argmax(-1) == labels)[shown].float().mean().item()
    return Graded(cross_entropy(logits, labels, weight), right)


def grade_answers(
    model: Any, features: Tensor, examples: list[Example], conversations: list[list[int]]
) -> Graded:
    """Let the decoder answer every question of the conversations, given the true earlier answers.

    Takes the features of the examples' tiles in order, (n, 64, width), and token ids with one
    <image> a picture. The share counts answers that are right in every token, as greedy decoding
    would then give them.
    """
    inner = model.model
    shown = [picture for one in examples for picture in one.pictures]
    packed, _ = inner.pack_image_features(
        torch.split(inner.multi_modal_projector(features), [picture.tiles for picture in shown]),
        [(picture.height, picture.width) for picture in shown],
        vision_feature_select_strategy="default",
        image_newline=inner.image_newline,
    )
    pictures = iter(packed)
    rows, wanted = [], []
    for ids in conversations:
        words = inner.language_model.embed_tokens(torch.tensor(ids))
        following = torch.tensor(targets(ids))
        row, want, done = [], [], 0
        for place in (i for i, token in enumerate(ids) if token == IMAGE):
            picture = next(pictures).to(words.dtype)
            row += [words[done:place], picture]
            want += [following[done:place], following.new_full((len(picture),), IGNORED)]
            done = place + 1
        rows.append(torch.cat((*row, words[done:])))
        wanted.append(torch.cat((*want, following[done:])))
    # Padding comes last, where causal attention never looks: no mask is needed.
    embedded = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    hidden = inner.language_model(inputs_embeds=embedded, use_cache=False).last_hidden_state
    labels = nn.utils.rnn.pad_sequence(wanted, batch_first=True, padding_value=IGNORED)
    spoken = labels >= 0
    logits = model.lm_head(hidden[spoken]).float()
    right = logits.argmax(-1) == labels[spoken]
    return Graded(cross_entropy(logits, labels[spoken]), _whole_answers(spoken, right))


def _whole_answers(spoken: Tensor, right: Tensor) -> float:
    """Share of answers (runs of spoken positions) in which every token is right."""
    starts = spoken & ~nn.functional.pad(spoken, (1, 0))[:, :-1]
    answer = (starts.flatten().cumsum(0) - 1)[spoken.flatten()]
    count = int(answer.max()) + 1
    wrong = torch.zeros(count).index_add_(0, answer, (~right).float())
    return (wrong == 0).float().mean().item()
