"""Pieces of streamed text join to exactly the text, whatever the tokens split."""

import pytest

from tests.unit.engine.conftest import Checkpoint
from worker.engine.text.detokenizing import UNFINISHED, TextStream, cut, decode

TEXTS = [
    "The light is red.",
    "按钮有四个。",
    "naïve 🙂 café",
    " leading and trailing ",
    "a\n\nb",
    "",
]


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_join_to_the_text(text: str, checkpoint: Checkpoint) -> None:
    tokenizer = checkpoint.processor.tokenizer
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    stream = TextStream(tokenizer)
    pieces = [stream.advance(ids[: n + 1]) for n in range(len(ids))]
    assert UNFINISHED not in "".join(pieces)
    pieces.append(stream.finish(decode(tokenizer, ids)))
    assert "".join(pieces) == text


def test_a_character_of_several_tokens_comes_at_once(checkpoint: Checkpoint) -> None:
    tokenizer = checkpoint.processor.tokenizer
    ids = tokenizer("🙂", add_special_tokens=False)["input_ids"]
    stream = TextStream(tokenizer)
    pieces = [stream.advance(ids[: n + 1]) for n in range(len(ids))]
    assert len(ids) > 1
    assert [piece for piece in pieces if piece] == ["🙂"]


def test_special_tokens_are_not_text(checkpoint: Checkpoint) -> None:
    tokenizer = checkpoint.processor.tokenizer
    ids = tokenizer("red", add_special_tokens=False)["input_ids"]
    assert decode(tokenizer, [*ids, tokenizer.eos_token_id]) == "red"


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("stop", [(".",), ("light is", "red"), ("个",), ("b", "\n\n"), ("zzz",)])
def test_nothing_of_a_stop_string_is_ever_given_out(
    text: str, stop: tuple[str, ...], checkpoint: Checkpoint
) -> None:
    tokenizer = checkpoint.processor.tokenizer
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    stream = TextStream(tokenizer, stop)
    wanted = cut(text, stop)
    pieces = []
    for n in range(len(ids)):
        pieces.append(stream.advance(ids[: n + 1]))
        if stream.stopped:
            break
    pieces.append(stream.finish(wanted))
    assert "".join(pieces) == wanted
    assert stream.stopped == (wanted != text)


def test_text_that_is_generated_anew_is_not_given_out_again(checkpoint: Checkpoint) -> None:
    tokenizer = checkpoint.processor.tokenizer
    ids = tokenizer("The light is red, 灯是红色的。", add_special_tokens=False)["input_ids"]
    stream = TextStream(tokenizer)
    pieces = [stream.advance(ids[: n + 1]) for n in range(len(ids) - 2)]
    pieces += [stream.advance(ids[: n + 1]) for n in range(len(ids))]
    pieces.append(stream.finish(decode(tokenizer, ids)))
    assert "".join(pieces) == "The light is red, 灯是红色的。"
