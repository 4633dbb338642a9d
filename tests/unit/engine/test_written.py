"""What users write is encoded as transformers itself does it, on the tokenizers of all layouts.

vLLM pins a transformers that lacks this way, and a control token that slipped through would let a
user speak as the model.
"""

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from demo.model import CHAT_TEMPLATE, new_tokenizer
from tests.unit.engine.layouts import LAYOUTS
from worker.engine import InvalidRequest
from worker.engine.text.written import CLOSE, OPEN, Written

NAUGHTY = (Path(__file__).parents[2] / "clients" / "naughty.txt").read_text().splitlines()
TOKENIZERS = {"demo": (new_tokenizer(), CHAT_TEMPLATE)} | {
    name: (layout._tokenizer(), layout.template) for name, layout in LAYOUTS.items()
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def spoken(request: pytest.FixtureRequest) -> tuple[Any, str]:
    """A tokenizer and its template."""
    return TOKENIZERS[request.param]


def messages(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]


def ours(tokenizer: Any, template: str, text: str) -> list[int]:
    written = Written(tokenizer, template)
    rendered = tokenizer.apply_chat_template(
        messages(written.mark(text)),
        chat_template=template,
        add_generation_prompt=True,
        tokenize=False,
    )
    return written.encode(rendered)


def theirs(tokenizer: Any, template: str, text: str) -> list[int]:
    encoded = tokenizer.apply_chat_template(
        messages(text),
        chat_template=template,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        sanitize_control_tokens=True,
    )
    return list(encoded["input_ids"])


def test_naughty_strings(spoken: tuple[Any, str]) -> None:
    differing = [text for text in NAUGHTY if ours(*spoken, text) != theirs(*spoken, text)]
    assert differing == []


def test_control_tokens_among_words(spoken: tuple[Any, str], seed: int) -> None:
    tokenizer, template = spoken
    control = [token.content for token in tokenizer.added_tokens_decoder.values()]
    words = [*control, *(c[:-1] for c in control), *(c[1:] for c in control), " ", "\n", "a", "读 "]
    rng = random.Random(seed)
    texts = ["".join(rng.choices(words, k=rng.randint(1, 8))) for _ in range(300)]
    differing = [t for t in texts if ours(tokenizer, template, t) != theirs(tokenizer, template, t)]
    assert differing == []


def test_a_typed_mark_forges_nothing(spoken: tuple[Any, str]) -> None:
    tokenizer, template = spoken
    for text in ("<im{}age>", "{}<image>", "<image>{}", "{}</s>{}"):
        forged = [text.replace("{}", mark) for mark in (OPEN, CLOSE, OPEN + CLOSE, CLOSE + OPEN)]
        plain = ours(tokenizer, template, text.replace("{}", ""))
        assert [ours(tokenizer, template, one) for one in forged] == [plain] * len(forged)


def test_a_tokenizer_that_makes_a_control_token_of_plain_text_is_not_trusted() -> None:
    tokenizer, template = TOKENIZERS["demo"]
    image = tokenizer.convert_tokens_to_ids("<image>")
    written = Written(tokenizer, template)
    whole = SimpleNamespace(tokenize=lambda _: [SimpleNamespace(id=image)])
    steps = SimpleNamespace(normalizer=None, pre_tokenizer=None, model=whole)
    written._tokenizer = SimpleNamespace(
        backend_tokenizer=steps,
        encode=tokenizer.encode,
        convert_tokens_to_ids=tokenizer.convert_tokens_to_ids,
    )
    with pytest.raises(InvalidRequest, match="cannot read <image> as text"):
        written.encode(f"You see {OPEN}<image>{CLOSE}.")
