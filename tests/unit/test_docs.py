"""What the documents say is what the code does."""

import re
import tomllib
from pathlib import Path

from click.testing import CliRunner
from packaging.requirements import Requirement

from jobs.settings import Settings
from llava_jobs.cli import cli

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for folder in ("api", "jobs", "worker", "llava_jobs")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
CODE = re.compile(
    r'code ?= ?"([a-z]+(?:_[a-z]+)+)"'
    r'|^    code = "([a-z]+)"\n    status = 503'
    r'|as_data\(\s*"([a-z_]+)"'
    r'|^    "[a-z_]+": "([a-z]+_[a-z_]+)"'
    r'|^    \d{3}: "([a-z_]+)"'
    r'|Reason\.\w+: \("([a-z_]+)"'
    r'|(?:Refused|ImageRejected)\(\s*"([a-z_]+)"',
    re.MULTILINE,
)


def test_every_error_code_of_the_code_is_documented_and_the_other_way_round() -> None:
    used = {
        code
        for path in SOURCES
        for found in CODE.findall(path.read_text())
        for code in found
        if code
    }
    text = (ROOT / "docs" / "api.md").read_text()
    tables = text.split("\n## Errors\n")[1]
    cells = re.findall(r"^\| (`.+?) \|", tables, re.MULTILINE)
    rest = tables.split("What operators see")[1]
    documented = set(re.findall(r"`([a-z]+_?[a-z_]+)`", " ".join(cells) + rest))
    assert len(used) > 30
    assert used - documented == set()
    assert documented - used == {"http_error"} & documented


def test_every_setting_is_documented_with_its_default_and_meaning() -> None:
    result = CliRunner().invoke(cli, ["settings", "--markdown"], env=dict.fromkeys(_SET))
    assert result.exit_code == 0
    assert (ROOT / "docs" / "settings.md").read_text() == result.output


_SET = [f"LLAVA_JOBS_{name.upper()}" for name in Settings.model_fields]


def test_every_link_within_the_documents_leads_somewhere() -> None:
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_lock_meets_what_the_package_asks_for() -> None:
    locked = dict(
        line.split("==")
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if "==" in line
    )
    versions = {name.lower().replace("_", "-"): number for name, number in locked.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for text in sum(project["optional-dependencies"].values(), project["dependencies"]):
        wanted = Requirement(text)
        assert wanted.specifier.contains(versions[wanted.name.lower()]), text
