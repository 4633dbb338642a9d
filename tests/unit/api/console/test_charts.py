"""A chart is as high as what it shows, and says in words what it draws."""

import pytest

from api.console.i18n import language
from api.console.operations.charts import HEIGHT, jobs_chart, times_chart
from api.console.sizes import size
from jobs.figures import Durations, Minute

ENGLISH = language("en")


def minute(
    number: int, ended: tuple[int, int, int] = (0, 0, 0), bucket: int | None = None
) -> Minute:
    """A minute in which that many jobs ended, each as long."""
    took = Durations({} if bucket is None else {bucket: 4})
    return Minute(number * 60_000, sum(ended), *ended, took, took)


def test_a_column_is_stacked_from_what_ended_in_its_minute() -> None:
    chart = jobs_chart([minute(0), minute(1, (10, 5, 5))], ENGLISH)
    assert (chart.top, chart.middle) == ("20", "10")
    empty, full = chart.columns
    assert empty.bars == ()
    assert [(bar.part, bar.y, bar.height) for bar in full.bars] == [
        ("succeeded", 60, 60),
        ("failed", 30, 30),
        ("canceled", 0, 30),
    ]
    assert full.x == 10
    assert full.told == "00:01 UTC: 10 answered, 5 failed, 5 canceled; 20 accepted"
    assert "20 jobs were accepted" in chart.summary


def test_the_slow_stand_behind_the_half() -> None:
    slow = Durations({40: 90, 52: 10})  # 1 s to 1.2 s, and 8 s to 10 s
    chart = times_chart("whole", [minute(0), minute(1, bucket=40)], lambda _: slow, ENGLISH)
    assert (chart.top, chart.middle) == ("10 s", "5.0 s")
    p95, p50 = chart.columns[1].bars
    assert (p95.part, p50.part) == ("p95", "p50")
    assert p95.height > p50.height > 0
    assert p95.y + p95.height == pytest.approx(HEIGHT)
    assert "95 % at most 8.9 s" in chart.summary


def test_a_chart_of_nothing_is_there_and_says_so() -> None:
    chart = times_chart("waiting", [minute(0)], lambda one: one.waiting, ENGLISH)
    assert chart.columns[0].bars == ()
    assert "nothing" in chart.columns[0].told
    assert jobs_chart([minute(0)], ENGLISH).top == "2"


def test_memory_is_told_in_the_unit_that_fits() -> None:
    told = [size(count) for count in (0, 512, 1_400, 61e9, 80_000_000_000, 999_999)]
    assert told == ["0 bytes", "512 bytes", "1.4 kB", "61 GB", "80 GB", "1.0 MB"]
