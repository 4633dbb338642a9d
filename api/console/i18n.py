"""What the pages say, in each language that they speak."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from flask import request

COOKIE = "llava_jobs_language"
LANGUAGES = {"en": "English", "zh": "中文"}


@dataclass(frozen=True)
class Language:
    """A language: its code in catalogues, its tag in HTML, and its texts by key."""

    code: str
    tag: str
    texts: Mapping[str, str]

    def __call__(self, key: str, **values: object) -> str:
        """Return a text with its values in place."""
        text = self.texts[key]
        return text.format(**values) if values else text

    def count(self, key: str, number: int, **values: object) -> str:
        """Return a text about a number of things, which the text calls ``count``."""
        return self(f"{key}.one" if number == 1 else key, count=number, **values)

    def has(self, key: str) -> bool:
        """Whether there is a text of this key."""
        return key in self.texts


@cache
def language(code: str) -> Language:
    """Return a language by its code, one of ``LANGUAGES``."""
    text = (files("api.console") / "translations" / f"{code}.json").read_text("utf-8")
    return Language(code, {"en": "en", "zh": "zh-CN"}[code], json.loads(text))


def chosen() -> Language:
    """Return the language that a visitor chose, or that their browser prefers."""
    code = request.cookies.get(COOKIE)
    if code not in LANGUAGES:
        code = request.accept_languages.best_match(list(LANGUAGES), "en")
    return language(code or "en")
