"""The tables, the data and the chart of a run on a device, from its journal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.figure import Figure

from bench.gpu.journal import STARTED, Record
from bench.results import Results, Table

_LIMIT = "#dc2626"
_LONGEST = 100
_TOTALS = ("part", "workload", "numbers", "jobs/s", "tokens/s", "CPU s a job", "of limit")
_STEPS = (
    *("part", "step", "requests", "wall ms", "device ms", "host ms"),
    *("profiled: wall ms", "kernels ms", "gaps ms", "launches"),
)
_TOP = 8


def results(records: Sequence[Record]) -> Results:
    """Put the tables, the data and the chart of a run together."""
    started = next(record for record in records if record["part"] == STARTED)
    shape, command = started["shape"], started["command"]
    totals = [record for record in records if "jobs_per_s" in record]
    return Results(
        "gpu",
        f"A model of the {shape} shape with random weights, on {_device(records)}",
        command,
        [
            Table("Throughput", [_TOTALS, *map(_total, totals)]),
            Table("One step", step_rows(records), "Host ms are this thread's processor time."),
            Table("The longest kernels of a step", kernel_rows(records)),
            Table("Single kernels", single_rows(records)),
            Table("Checks", check_rows(records)),
            Table("Parts", part_rows(records)),
        ],
        {"shape": shape, "records": list(records)},
        lambda: chart(totals),
    )


def _device(records: Sequence[Record]) -> str:
    told = (record["device"] for record in records if "device" in record)
    return str(next(told, "a CPU"))


def step_rows(records: Iterable[Record]) -> list[tuple[str, ...]]:
    """Return what steps took, a row a step, head first."""
    merged: dict[tuple[str, str, int], Record] = {}
    for record in records:
        if record.get("step") in ("read", "generate"):
            place = (record["part"], record["step"], record["requests"])
            merged.setdefault(place, {}).update(record)
    parts = ("wall_ms", "device_ms", "host_ms", "profiled_wall_ms", "kernels_ms", "gaps_ms")
    return [_STEPS] + [
        (
            *(part, step, str(requests)),
            *(_number(record.get(name)) for name in parts),
            _number(record.get("launches"), 0),
        )
        for (part, step, requests), record in merged.items()
    ]


def kernel_rows(records: Iterable[Record]) -> list[tuple[str, ...]]:
    """Return the longest kernels of each profiled step, head first."""
    rows: list[tuple[str, ...]] = [("part", "step", "requests", "kernel", "ms", "times")]
    return rows + [
        (
            *(record["part"], record["step"], str(record["requests"]), name[:60]),
            *(f"{milliseconds:.3f}", f"{times:g}"),
        )
        for record in records
        for name, milliseconds, times in record.get("top", [])[:_TOP]
    ]


def single_rows(records: Iterable[Record]) -> list[tuple[str, ...]]:
    """Return the times of single kernels, head first."""
    rows: list[tuple[str, ...]] = [("kernel", "rows", "ms", "GB/s", "TFLOP/s")]
    return rows + [
        (
            record["kernel"],
            str(record["rows"]),
            f"{record['ms']:.4f}",
            _number(record.get("bytes_per_s", 0) / 1e9, 1),
            _number(record.get("flops_per_s", 0) / 1e12, 2),
        )
        for record in records
        if "kernel" in record and "ms" in record
    ]


def check_rows(records: Iterable[Record]) -> list[tuple[str, ...]]:
    """Return what was held to references, head first."""
    checked = ("small model", "teacher forcing", "kernels", "kernels load")
    ignored = {"part", "at_s", "done", "seconds"}
    rows: list[tuple[str, ...]] = [("part", "found")]
    for record in records:
        told = {name: value for name, value in record.items() if name not in ignored}
        if record["part"] in checked and told:
            rows.append((record["part"], ", ".join(f"{n} {_short(v)}" for n, v in told.items())))
    return rows


def part_rows(records: Iterable[Record]) -> list[tuple[str, ...]]:
    """Return how each part ended, head first."""
    rows: list[tuple[str, ...]] = [("part", "seconds", "outcome")]
    for record in records:
        if record.get("done"):
            rows.append((record["part"], f"{record['seconds']:.1f}", "done"))
        elif set(record) <= {"part", "at_s", "skipped"}:
            rows.append((record["part"], "", f"skipped: {record['skipped']}"))
        elif "trace" in record:
            rows.append((record["part"], "", f"failed: {record['failed'][:_LONGEST]}"))
    return rows


def chart(totals: Sequence[Record]) -> Figure:
    """Draw jobs a second, and the measured limit of each run where it is known."""
    figure = Figure(figsize=(7.5, 1.2 + 0.45 * max(1, len(totals))), layout="constrained")
    axes = figure.add_subplot()
    for place, record in enumerate(totals):
        rate, share = record["jobs_per_s"], record.get("share_of_limit")
        bar = axes.barh(place, rate, 0.7, color="#2563eb")
        axes.bar_label(bar, [f"{rate:.1f}/s" + (f", {share:.0%}" if share else "")], padding=4)
        if share:
            axes.vlines(rate / share, place - 0.4, place + 0.4, color=_LIMIT, linewidth=1.5)
    axes.set_yticks(range(len(totals)), [f"{r['part']}, {r['workload']}" for r in totals])
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel("jobs per second; the line is what the measured ceilings allow")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _total(record: Record) -> tuple[str, ...]:
    share = record.get("share_of_limit")
    changes = record.get("changes")
    return (
        record["part"] + (f" {changes}" if changes else ""),
        record["workload"],
        record.get("numbers", ""),
        f"{record['jobs_per_s']:.2f}",
        f"{record['tokens_per_s']:,.0f}",
        _number(record.get("cpu_s_per_job"), 3),
        f"{share:.0%}" if share else "",
    )


def _number(value: Any, places: int = 2) -> str:
    return f"{value:,.{places}f}" if value else ""


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:_LONGEST]
