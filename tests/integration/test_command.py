"""The `llava-jobs` command: its help, the settings, the keys, and a question from the terminal."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from jobs.settings import Settings
from llava_jobs.cli import cli
from tests.installations import Installation, caller, run


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command by its words, groups included."""
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("path", list(commands(cli)), ids=" ".join)
def test_every_commands_help_has_an_example(path: tuple[str, ...]) -> None:
    text = CliRunner().invoke(cli, [*path, "--help"], prog_name="llava-jobs").output
    assert "llava-jobs" in text.split("Example: ")[1]


def test_the_command_is_installed_and_helps() -> None:
    status, text = run("--help")
    assert status == 0
    assert "Example: llava-jobs up" in text


def test_settings_are_shown_with_their_meaning_and_without_their_secrets() -> None:
    status, text = run("settings", slots="7", redis_url="redis://:hunter2@127.0.0.1:1/0")
    assert status == 0
    for name in Settings.model_fields:
        assert f"LLAVA_JOBS_{name.upper()}" in text
    [slots] = [line for line in text.splitlines() if line.startswith("LLAVA_JOBS_SLOTS")]
    assert slots.split()[1] == "7"
    assert "hunter2" not in text


def test_every_setting_is_in_the_documentation() -> None:
    documented = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    for name, field in Settings.model_fields.items():
        assert f"`LLAVA_JOBS_{name.upper()}`" in documented
        assert field.description
        assert field.description in documented


def test_keys_are_made_and_revoked_on_a_named_folder_while_nothing_runs(data_dir: Path) -> None:
    place = ("--data-dir", str(data_dir))
    status, key = run("keys", "create", "--tenant", "acme", *place)
    assert status == 0
    key_id = key.split("_")[1]
    assert run("keys", "revoke", key_id, data_dir=str(data_dir)) == (0, f"revoked {key_id}\n")
    status, text = run("keys", "revoke", key_id, *place)
    assert status != 0
    assert "Traceback" not in text
    assert "keys list" in text


def test_the_secret_of_webhooks_is_made_once_and_rotated(data_dir: Path) -> None:
    place = ("--tenant", "acme", "--data-dir", str(data_dir))
    status, secret = run("webhooks", "secret", *place)
    assert (status, secret[:6]) == (0, "whsec_")
    status, text = run("webhooks", "secret", *place)
    assert status == 1
    assert "rotate" in text
    assert secret.strip() not in text
    status, rotated = run("webhooks", "rotate", *place)
    assert (status, rotated[:6]) == (0, "whsec_")
    assert rotated != secret
    status, text = run("webhooks", "enable", "https://hook.test/", *place)
    assert status == 1
    assert "Traceback" not in text


def test_a_key_made_while_it_runs_counts_at_once(installation: Installation) -> None:
    place = ("--data-dir", str(installation.data_dir))
    key = run("keys", "create", "--tenant", "other", *place)[1].strip()
    key_id, secret = key.split("_")[1:]
    listed = run("keys", "list", *place)[1]
    assert key_id in listed
    assert secret not in listed
    with caller(installation.url, key) as http:
        assert http.get("/v1/models").status_code == 200
        run("keys", "revoke", key.split("_")[1], *place)
        assert http.get("/v1/models").status_code == 401


def test_a_question_from_the_terminal_is_answered(
    installation: Installation, picture: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "panel.png"
    file.write_bytes(picture)
    status, text = run(
        "ask", str(file), "What is this?", "--url", installation.url, api_key=installation.key
    )
    assert status == 0, text
    assert text.strip()


@pytest.mark.parametrize(
    ("options", "settings", "cure"),
    [
        ((), {}, "LLAVA_JOBS_API_KEY"),
        (("--url", "http://127.0.0.1:1"), {"api_key": "x"}, "llava-jobs up"),
    ],
)
def test_a_question_that_cannot_be_asked_is_told_in_one_line_with_the_cure(
    tmp_path: Path, options: tuple[str, ...], settings: dict[str, Any], cure: str
) -> None:
    file = tmp_path / "panel.png"
    file.write_bytes(b"x")
    status, text = run("ask", str(file), "What?", *options, **settings)
    assert status == 1
    assert text.startswith("llava-jobs: ")
    assert text.count("\n") == 1
    assert cure in text


def test_a_wrong_key_and_a_wrong_picture_are_told_in_one_line(
    installation: Installation, tmp_path: Path
) -> None:
    file = tmp_path / "panel.png"
    file.write_bytes(b"no picture")
    for key, code in (("wrong", "invalid_api_key"), (installation.key, "image_unsupported")):
        status, text = run("ask", str(file), "What?", "--url", installation.url, api_key=key)
        assert status == 1
        assert text.count("\n") == 1
        assert code in text
