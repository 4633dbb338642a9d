"""Training computes what the stock model computes, on labels that say what is in each patch."""

from __future__ import annotations

from random import Random

import numpy as np
import torch

from demo.conversations import IGNORED, conversation, encode, example, targets
from demo.drawing import draw
from demo.learning import grade_answers, pixels_of, see
from demo.model import new_model, new_processor
from demo.scenes import COLOURS, LIGHT_LABEL, Scene

PROCESSOR = new_processor()
SCENE = Scene("red", "star", 4, "E42", (320, 200), 5)


def test_tiles_are_what_the_processor_gives_a_caller() -> None:
    one = example(SCENE, PROCESSOR)
    stock = PROCESSOR(images=draw(SCENE), text="<image>", return_tensors="pt")
    assert one.tiles.shape == tuple(stock["pixel_values"][0].shape)
    assert one.tokens == stock["input_ids"].shape[1]
    assert one.labels.shape == (len(one.tiles), 64)


def test_the_labels_of_the_thumbnail_show_every_part() -> None:
    thumbnail = example(SCENE, PROCESSOR).labels[0].reshape(8, 8)
    assert (thumbnail == LIGHT_LABEL + COLOURS.index("red")).any()
    assert len(np.unique(thumbnail)) >= 5


def test_only_answers_are_learnt() -> None:
    ids = encode(conversation(SCENE, Random(1)), PROCESSOR)
    wanted = targets(ids)
    assert len(wanted) == len(ids)
    words = PROCESSOR.tokenizer.decode([one for one in wanted if one != IGNORED])
    assert words.count("</s>") == 5
    assert "[INST]" not in words
    assert "E42" in words


def test_the_losses_features_and_answers_are_those_of_the_stock_model() -> None:
    torch.manual_seed(0)
    model = new_model().eval()
    one = example(SCENE, PROCESSOR)
    talk = conversation(SCENE, Random(1))
    ids = encode(talk, PROCESSOR)
    with torch.no_grad():
        ours = grade_answers(model, see(model, pixels_of([one])), [one], [ids])
        text = PROCESSOR.apply_chat_template(talk, tokenize=False)
        inputs = PROCESSOR(
            images=draw(SCENE), text=text, add_special_tokens=False, return_tensors="pt"
        )
        logits = model(**inputs).logits[0]
    wanted = torch.tensor(targets(inputs["input_ids"][0].tolist()))
    spoken = wanted >= 0
    loss = torch.nn.functional.cross_entropy(logits[spoken], wanted[spoken])
    torch.testing.assert_close(ours.loss, loss, atol=1e-4, rtol=1e-4)


def test_an_example_follows_from_its_scene_alone() -> None:
    one, again = example(SCENE, PROCESSOR), example(SCENE, new_processor())
    assert one.tiles.tobytes() == again.tiles.tobytes()
    assert one.labels.tobytes() == again.labels.tobytes()
