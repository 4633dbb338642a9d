"""A worker's engine is the one that its settings ask for."""

from collections.abc import Iterator
from typing import Any

import pytest

from jobs.settings import Settings
from worker.engine import Engine, ModelError, SpreadEngine
from worker.engine.serving import Serving
from worker.hardware import slots
from worker.loading import load_engine
from worker.metrics import facts


@pytest.fixture
def engine(settings: Settings) -> Iterator[Serving]:
    engine = load_engine(settings)
    yield engine
    engine.close()


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> Settings:
    options: dict[str, Any] = request.param
    return Settings(slots=2, **options)


@pytest.mark.parametrize(
    ("settings", "kind", "at_once"),
    [
        ({}, Engine, 2),
        ({"quantize": "int8"}, Engine, 2),
        ({"quantize": "nf4"}, Engine, 2),
        ({"device_map": "auto"}, SpreadEngine, 1),
    ],
    indirect=["settings"],
)
def test_settings_choose_the_engine(
    settings: Settings, engine: Engine | SpreadEngine, kind: type, at_once: int
) -> None:
    assert type(engine) is kind
    assert slots(settings) == at_once
    told = facts(engine)
    assert (told["slots"], told["running"], told["waiting"]) == (at_once, 0, 0)


@pytest.mark.parametrize("allowed", [False, True])
def test_slow_attention_is_allowed_by_its_setting_alone(
    allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(Engine, "load", lambda _, **options: asked.update(options))
    load_engine(Settings(slots=2, slow_attention=allowed))
    assert asked["slow_attention"] is allowed


def test_what_cannot_be_had_together_is_refused() -> None:
    with pytest.raises(ModelError, match="LLAVA_JOBS_DEVICE_MAP cannot be quantised"):
        load_engine(Settings(device_map="auto", quantize="int8"))
