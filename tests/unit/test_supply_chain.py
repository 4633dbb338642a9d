"""What the program runs is what was pinned: no code of a checkpoint, no pickled weights."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOADERS = {"trust_remote_code": False, "use_safetensors": True}


def test_wherever_a_checkpoint_is_loaded_its_code_is_not_run() -> None:
    said: dict[str, list[object]] = {name: [] for name in LOADERS}
    for folder in ("api", "jobs", "worker", "llava_jobs", "demo"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                for name, value in _named(node):
                    if name in LOADERS:
                        said[name].append(value)
    for name, wanted in LOADERS.items():
        assert said[name], f"nothing says {name}"
        assert set(said[name]) == {wanted}


def _named(node: ast.AST) -> list[tuple[str, object]]:
    """The names and plain values that a call or a dict passes on."""
    if isinstance(node, ast.keyword) and node.arg:
        return [(node.arg, getattr(node.value, "value", None))]
    if isinstance(node, ast.Dict):
        return [
            (key.value, getattr(value, "value", None))
            for key, value in zip(node.keys, node.values, strict=True)
            if isinstance(key, ast.Constant) and isinstance(key.value, str)
        ]
    return []


def test_every_requirement_is_pinned_to_one_version() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    wanted = [line for line in lines if line.strip() and not line.lstrip().startswith(("#", "--"))]
    assert wanted
    assert [line for line in wanted if "==" not in line] == []
