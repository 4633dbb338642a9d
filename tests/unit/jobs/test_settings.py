"""Settings come from the environment, explain themselves, and hide their secrets."""

import pytest
from pydantic import ValidationError

from jobs.errors import ConfigurationError
from jobs.ledger import Limits
from jobs.settings import Settings


def test_every_setting_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAVA_JOBS_REDIS_URL", "redis://:hunter2@db/0")
    monkeypatch.setenv("LLAVA_JOBS_SLOTS", "64")
    monkeypatch.setenv("LLAVA_JOBS_LEASE_MS", "900")
    monkeypatch.setenv("LLAVA_JOBS_DURABILITY", "memory")
    settings = Settings()
    assert settings.required_redis_url == "redis://:hunter2@db/0"
    assert (settings.slots, settings.lease_ms, settings.durability) == (64, 900, "memory")


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_says_what_it_means(name: str) -> None:
    description = Settings.model_fields[name].description
    assert description
    assert len(description) > 10


def test_secrets_are_hidden_wherever_settings_are_shown() -> None:
    settings = Settings(redis_url="redis://:hunter2@db/0", bootstrap_key="lj_aaaaaaaa_" + "k" * 40)
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert "hunter2" not in shown
        assert "kkkk" not in shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLOTS", "0"),
        ("SLOTS", "many"),
        ("LEASE_MS", "-1"),
        ("DURABILITY", "maybe"),
        ("DTYPE", "int4"),
        ("MAX_CRASHES", "0"),
        ("IMAGE_TIMEOUT_S", "0"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"LLAVA_JOBS_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings().slots = 3  # type: ignore[misc]


def test_without_a_store_the_cure_is_named() -> None:
    with pytest.raises(ConfigurationError, match="LLAVA_JOBS_REDIS_URL"):
        _ = Settings().required_redis_url


@pytest.mark.parametrize(
    ("model", "name", "served"),
    [
        ("demo", None, "demo"),
        ("llava-hf/llava-v1.6-mistral-7b-hf", None, "llava-v1.6-mistral-7b-hf"),
        ("/models/panel/", None, "panel"),
        ("/models/panel", "ours", "ours"),
    ],
)
def test_a_model_is_served_under_its_last_part_or_the_name_given(
    model: str, name: str | None, served: str
) -> None:
    assert Settings(model=model, model_name=name).served_model == served


def test_the_ledgers_limits_are_those_of_an_installation_that_sets_none() -> None:
    assert Limits.from_settings(Settings()) == Limits()


def test_a_worker_renews_several_times_within_a_lease() -> None:
    assert Settings().renew_ms * 3 <= Settings().lease_ms
