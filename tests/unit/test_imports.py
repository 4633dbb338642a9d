"""Imports run one way: api -> jobs <- worker, and the engine knows nothing of what is around it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.eventually import PATIENCE_S

ROOT = Path(__file__).parents[2]
PACKAGES = ("api", "bench", "demo", "examples", "jobs", "llava_jobs", "worker")
MODULES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))
EVERYWHERE = sorted([*MODULES, *(ROOT / "tests").rglob("*.py")])

MODELS = ("torch", "transformers", "accelerate", "safetensors", "tokenizers")
FORBIDDEN = {
    "jobs": ("api", "worker", "llava_jobs", "demo", "bench", "flask", "numpy", *MODELS),
    "api": ("worker", "llava_jobs", "demo", "bench", *MODELS),
    "worker": ("api", "llava_jobs", "demo", "bench", "flask"),
    "worker/engine": ("jobs", "api", "llava_jobs", "demo", "redis", "celery", "kombu", "flask"),
    "llava_jobs": ("api", "worker", "flask", "celery", *MODELS),
    "examples": ("api", "jobs", "demo", "bench", "tests", "redis", "celery", *MODELS),
    "demo": ("api", "jobs", "worker", "llava_jobs", "flask", "redis", "celery"),
}
TASTELESS = {"utils", "util", "common", "helpers", "helper", "base", "manager", "managers", "misc"}
MOST_LINES = 320


def named(path: Path) -> str:
    """A module as its path in the repository."""
    return path.relative_to(ROOT).as_posix()


def parsed(path: Path) -> ast.Module:
    """A module's syntax."""
    return ast.parse(path.read_text(), named(path))


def imported(path: Path) -> Iterator[str]:
    """Every module that a module imports, wherever within it, by full name."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield stem
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def at_import(tree: ast.Module) -> Iterator[ast.AST]:
    """What runs when a module is imported: all but the bodies of functions."""
    left: list[ast.AST] = [tree]
    while left:
        node = left.pop()
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            if not isinstance(node, ast.Lambda):
                left += [*node.decorator_list, *node.args.defaults]
        else:
            left += ast.iter_child_nodes(node)


def test_the_check_sees_the_packages() -> None:
    assert {named(path).split("/")[0] for path in MODULES} == set(PACKAGES)


@pytest.mark.parametrize("package", FORBIDDEN)
def test_a_package_imports_nothing_that_it_must_not_know(package: str) -> None:
    wrong = [
        f"{named(path)} imports {name}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for name in imported(path)
        if name.split(".")[0] in FORBIDDEN[package]
    ]
    assert wrong == []


def test_the_ledgers_keys_are_spelled_in_one_place() -> None:
    wrong = [
        f"{named(path)}:{node.lineno}"
        for path in MODULES
        if named(path) != "jobs/scripts.py"
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith("lj:")
    ]
    assert wrong == []


def test_nothing_is_pickled() -> None:
    pickles = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
    wrong = [
        f"{named(path)} imports {name}"
        for path in EVERYWHERE
        for name in imported(path)
        if name.split(".")[0] in pickles
    ]
    assert wrong == []


def test_no_module_reads_the_environment_when_it_is_imported() -> None:
    readers = {"environ", "getenv"}
    wrong = [
        f"{named(path)}:{node.lineno}"
        for path in MODULES
        for node in at_import(parsed(path))
        if (isinstance(node, ast.Attribute) and node.attr in readers)
        or (isinstance(node, ast.Name) and node.id in readers)
    ]
    assert wrong == []


def test_every_module_is_named_for_what_it_holds() -> None:
    parts = {part for path in EVERYWHERE for part in path.relative_to(ROOT).with_suffix("").parts}
    assert parts & TASTELESS == set()


@pytest.mark.parametrize("path", EVERYWHERE, ids=named)
def test_a_module_is_short_enough_to_be_read(path: Path) -> None:
    most = 3 * MOST_LINES if path.is_relative_to(ROOT / "tests") else MOST_LINES
    assert len(path.read_text().splitlines()) <= most


@pytest.mark.parametrize(
    ("program", "unwanted"),
    [
        ("import api.app, api.server.gunicorn_conf", {*MODELS, "worker", "demo"}),
        ("import api", {*MODELS, "worker", "demo", "flask", "redis"}),
        (
            "import jobs.ledger, jobs.hints, jobs.sweeper, jobs.changes, jobs.image_store",
            {*MODELS, "api", "worker", "flask"},
        ),
        ("import llava_jobs.cli, llava_jobs.up", {*MODELS, "api", "worker", "flask"}),
        ("import worker.app, worker.step, worker.tasks", {*MODELS, "api", "flask", "demo"}),
        ("import worker.engine.requests", {"jobs", "api", "redis", "celery", "flask"}),
    ],
)
def test_a_fresh_interpreter_loads_no_more_than_it_needs(program: str, unwanted: set[str]) -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", f"{program}; import sys; print(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    assert {name.split(".")[0] for name in loaded.stdout.split()} & unwanted == set()
