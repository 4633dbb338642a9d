"""What the documents say is what the code does."""

import json
import re
import tomllib
from pathlib import Path

from click.testing import CliRunner
from packaging.requirements import Requirement

from api.openapi.document import document
from api.openapi.error_codes import faults
from jobs.settings import Settings
from llava_jobs.cli import cli

KINDS = ("calls", "jobs", "batches", "operators")
ROOT = Path(__file__).parents[2]
SOURCES = [
    ROOT / "deploy" / "nginx.conf",
    *(
        path
        for folder in ("api", "jobs", "worker", "llava_jobs")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ),
]
CODE = re.compile(
    r'code ?= ?"([a-z]+(?:_[a-z0-9]+)+)"'
    r'|"code":"([a-z_]+)"'
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
    documented = {code for kind in KINDS for code in faults(kind)}
    assert len(used) > 30
    assert used - documented == set(), "say in api/openapi/error_codes.toml what they mean"
    assert documented - used == {"http_error"} & documented


def test_what_a_guide_for_contributors_names_is_there() -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    words = [word for code in re.findall(r"`([^`\n]+)`", guide) for word in code.split()]
    paths = {word for word in words if "/" in word and word != "jobs/lua/<name>.lua"}
    assert len(paths) > 15
    made = {path for path in paths if path.startswith(".venv/")}
    assert [path for path in sorted(paths - made) if not (ROOT / path).exists()] == []
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = set(re.findall(r"\bmake ([a-z-]+)", guide))
    assert len(named) > 4
    assert named <= set(targets)


def test_every_error_has_a_cause_and_a_cure() -> None:
    for kind in KINDS:
        for fault in faults(kind).values():
            assert fault.cause, fault.code
            assert fault.cure, fault.code


def test_the_reference_of_the_api_is_what_the_description_says() -> None:
    result = CliRunner().invoke(cli, ["openapi", "--markdown"])
    assert result.exit_code == 0
    text = (ROOT / "docs" / "api.md").read_text()
    assert text.partition("## Reference\n")[2] == result.output.partition("## Reference\n")[2], (
        "run `make docs`"
    )


def test_the_command_prints_what_the_api_serves() -> None:
    result = CliRunner().invoke(cli, ["openapi"])
    assert json.loads(result.output) == document()


def test_every_setting_is_documented_with_its_default_and_meaning() -> None:
    result = CliRunner().invoke(cli, ["settings", "--markdown"], env=dict.fromkeys(_SET))
    assert result.exit_code == 0
    assert (ROOT / "docs" / "settings.md").read_text() == result.output


_SET = [f"LLAVA_JOBS_{name.upper()}" for name in Settings.model_fields]


def test_every_link_within_the_documents_leads_somewhere() -> None:
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_promise_of_the_security_page_is_tried_by_tests_that_there_are() -> None:
    rows = [
        line
        for line in (ROOT / "docs" / "security.md").read_text().splitlines()
        if line.startswith("| ") and "tried by" not in line
    ]
    assert len(rows) > 40
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", row)
        assert named, row
        for path, test in named:
            assert f"def {test}(" in (ROOT / "tests" / path).read_text(), f"{path}::{test}"


def test_the_lock_meets_what_the_package_asks_for() -> None:
    locked = dict(
        line.partition(";")[0].split("==")
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if "==" in line
    )
    versions = {name.lower().replace("_", "-"): number for name, number in locked.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for text in sum(project["optional-dependencies"].values(), project["dependencies"]):
        wanted = Requirement(text)
        assert wanted.specifier.contains(versions[wanted.name.lower()]), text


def test_the_readme_tells_what_was_measured() -> None:
    readme = (ROOT / "README.md").read_text()
    [faults_all] = re.findall(r"^\| \*\*all\*\* .*$", _read("docs/reliability.md"), re.MULTILINE)
    _, _, runs, accepted, *_ = (cell.strip() for cell in faults_all.split("|"))
    assert runs.split()[0] in readme
    assert f"| jobs accepted | {accepted} |" in readme
    for row in re.findall(r"^\| (\w+), on disk \|(.*)\|$", _read("bench/results/queue.md"), re.M):
        name, cells = row[0], [cell.strip() for cell in row[1].split("|")]
        assert f"| {name} | {cells[0]} | {cells[3]} |" in readme


def test_the_readme_tells_how_many_jobs_each_way_answered() -> None:
    measured = json.loads(_read("bench/results/throughput.json"))["workloads"]
    shown = ("different pictures", "one picture", "mixed, at random", "one at a time")
    rates = {
        (way["name"], group["workload"]): f"{way['jobs_per_s']:.2f}"
        for group in measured
        for way in group["ways"]
    }
    for way in {name for name, _ in rates}:
        [row] = re.findall(rf"^\| {way}[^|]*\|(.*)\|$", _read("README.md"), re.MULTILINE)
        told = [cell.strip(" *") for cell in row.split("|")]
        assert told == [rates.get((way, workload), "") for workload in shown]


def _read(path: str) -> str:
    return (ROOT / path).read_text()
