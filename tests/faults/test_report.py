"""The table of the runs, and the document that it is written to."""

from pathlib import Path

from tests.faults.checker import Verdict
from tests.faults.faults import FAULTS
from tests.faults.published import CASES
from tests.faults.report import BEGIN, END, PUBLISHED, Report, described
from tests.faults.trial import Trial

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"


def test_each_run_is_a_line_and_all_of_them_a_sum() -> None:
    report = Report()
    pair = (FAULTS["kill_worker"], FAULTS["cut"])
    report.add(Trial(7, pair), Verdict(accepted=1_200, wasted=2, recovery_ms=3_400))
    report.add(Trial(8, pair[:1]), Verdict(accepted=800, lost=["job_1"], recovery_ms=100))
    _, _, one, other, both = report.table().splitlines()
    assert one.startswith("| kill_worker + cut | 7 | 1,200 | 0 |")
    assert other.startswith("| kill_worker | 8 | 800 | 1 |")
    assert both.startswith("| **all** | 2 runs | 2,000 | 1 |")
    assert both.endswith("| 2 | 3.4 s |")


def test_the_document_keeps_all_but_what_was_measured_before() -> None:
    before = f"above\n{BEGIN}\nold\n{END}\nbelow\n"
    after = Report().document(before)
    assert after.startswith(f"above\n{BEGIN}\nMeasured on 20")
    assert after.endswith(f"{END}\nbelow\n")
    assert "old" not in after


def test_what_others_publish_is_written_below_its_own_mark() -> None:
    report = Report()
    report.cases.append((CASES[0], "200 lines, 0 lost"))
    after = report.document(f"{BEGIN}\nold\n{END}\nbetween\n{PUBLISHED}\nold\n{END}\nbelow\n")
    first, _, second = after.partition("between")
    assert "200 lines" not in first
    assert f"| {CASES[0].means} | 200 lines, 0 lost |\n{END}\nbelow\n" in second


def test_the_document_has_a_place_for_all_that_is_measured() -> None:
    text = DOCUMENT.read_text()
    assert text.count(f"\n{BEGIN}\n") == text.count(f"\n{PUBLISHED}\n") == 1
    for case in CASES:
        assert case.source in text


def test_the_document_describes_every_fault() -> None:
    assert described() in DOCUMENT.read_text()


def test_a_trial_is_repeated_by_the_command_that_it_names() -> None:
    trial = Trial(7, (FAULTS["cut"],), jobs=50, rate=20)
    assert trial.command == "python -m tests.faults --seed 7 --fault cut --jobs 50 --rate 20"
