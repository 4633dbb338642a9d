"""The commands say what they do, and what needs a GPU or a million jobs runs small."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.__main__ import main
from bench.queue_report import results
from bench.queued import FLOOR_OF, measure
from bench.sustained import measure as sustain


@pytest.mark.parametrize(
    "command",
    [[], ["throughput"], ["queue"], ["peers"], ["host"], ["pictures"], ["gpu"], ["gpu-tables"]],
    ids=" ".join,
)
def test_every_command_explains_itself_with_an_example(command: list[str]) -> None:
    result = CliRunner().invoke(main, [*command, "--help"])
    assert result.exit_code == 0
    assert "Example: python -m bench" in result.output


def test_throughput_is_measured_where_nothing_else_is_named() -> None:
    result = CliRunner().invoke(main, ["--count", "none"])
    assert "Usage: main throughput" in result.output


def test_the_queue_is_measured_at_every_depth(tmp_path: Path) -> None:
    levels = measure(most=1000, repeats=3)
    assert [level.queued for level in levels] == [1000]
    assert set(levels[0].times) == {*FLOOR_OF, *FLOOR_OF.values()}
    assert levels[0].bytes_per_job > 100
    sustained = sustain(rate=20, retentions=1)
    assert sustained.samples[-1].ended > 0
    paths = results("python -m bench queue", levels, sustained).write(tmp_path)
    assert "jobs a second offered" in paths[1].read_text()
    assert json.loads(paths[0].read_text())["levels"][0]["operations"]["claim"]["p50_us"] > 0
