"""Files in parts: written and read a part at a time, line by line, and gone without a trace."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.errors import Conflict, FileTooLarge, InvalidRequest, StoreUnavailable
from jobs.files import PART_BYTES, File, Files
from jobs.lines import BLOCK_BYTES, lines
from jobs.scripts import PREFIX, Scripts
from tests.ledgers import Clock

LIFE = 3_600_000
MOST = 8 * PART_BYTES


@pytest.fixture
def files(client: Any, clock: Clock) -> Files:
    """Files that are kept for an hour."""
    scripts = Scripts(client, clock=clock)
    return Files(client, scripts, life_ms=LIFE, most_bytes=MOST, most_of_tenant=2 * MOST)


def kept(files: Files, data: bytes, tenant: str = "acme", **fields: Any) -> File:
    """A file that came in as one piece."""
    intake = files.begin(tenant)
    intake.write(data)
    return intake.keep("batch", "lines.jsonl", **fields)


def test_a_file_has_a_life_of_its_own_and_no_longer_one_than_others(
    files: Files, clock: Clock
) -> None:
    made = kept(files, b"{}\n")
    assert (made.created_at, made.expires_at) == (clock.now, clock.now + LIFE)
    assert kept(files, b"{}\n", life_ms=60_000).expires_at == clock.now + 60_000
    assert kept(files, b"{}\n", life_ms=9 * LIFE).expires_at == clock.now + LIFE
    assert files.get("acme", made.id) == made
    assert files.get("other", made.id) is None


def test_bytes_come_in_pieces_of_any_size_and_out_in_parts(files: Files) -> None:
    intake, data = files.begin("acme"), bytes(range(256)) * 10_000
    for start in range(0, len(data), 333_333):
        intake.write(data[start : start + 333_333])
    made = intake.keep("batch", "a")
    parts = list(files.content(made))
    assert b"".join(parts) == data
    assert [len(part) for part in parts] == [PART_BYTES, PART_BYTES, len(data) - 2 * PART_BYTES]


def test_what_is_not_kept_leaves_nothing(files: Files, client: Any) -> None:
    intake = files.begin("acme")
    intake.write(b"x" * (2 * PART_BYTES))
    with pytest.raises(FileTooLarge):
        intake.write(b"x" * MOST)
    assert all(client.pttl(key) > 0 for key in client.keys("*"))
    intake.drop()
    assert client.keys(f"{PREFIX}*") == []


def test_a_file_whose_parts_are_gone_is_not_kept(files: Files, client: Any) -> None:
    intake = files.begin("acme")
    intake.write(b"x" * PART_BYTES)
    client.flushall()
    with pytest.raises(StoreUnavailable):
        intake.keep("batch", "a")


def test_files_of_a_tenant_have_a_limit_together_as_long_as_they_live(
    files: Files, client: Any, clock: Clock
) -> None:
    first, _ = (kept(files, b"x" * MOST) for _ in range(2))
    with pytest.raises(InvalidRequest) as refused:
        kept(files, b"x")
    assert refused.value.code == "files_full"
    kept(files, b"x", "other")
    client.delete(f"{PREFIX}file:acme:{first.id}")  # its time is over
    clock.forward(LIFE)
    kept(files, b"x")
    assert client.zcard(f"{PREFIX}files:acme") == 2


def test_to_keep_a_file_costs_as_much_beside_two_hundred_as_beside_thirty(
    files: Files, client: Any
) -> None:
    def cost() -> int:
        client.config_resetstat()
        kept(files, b"x")
        return sum(int(each["calls"]) for each in client.info("commandstats").values())

    for _ in range(30):
        kept(files, b"x")
    few = cost()
    for _ in range(170):
        kept(files, b"x")
    assert cost() == few


def test_files_of_an_older_program_are_counted(files: Files, client: Any) -> None:
    made = kept(files, b"x" * MOST)
    client.delete(f"{PREFIX}sizes:files:acme", f"{PREFIX}ends:files:acme")
    kept(files, b"x" * (MOST - 512))
    with pytest.raises(InvalidRequest):
        kept(files, b"x" * 513)
    assert files.erase("acme", made.id)
    kept(files, b"x" * 513)


def test_of_erased_files_no_account_is_left(files: Files, client: Any) -> None:
    made = [kept(files, b"x"), kept(files, b"y")]
    assert client.hget(f"{PREFIX}sizes:files:acme", "") == b"1024", "each counts for 512 at least"
    for file in made:
        assert files.erase("acme", file.id)
    assert not client.keys(f"{PREFIX}*files*")


def test_the_list_of_files_goes_with_the_last_of_them(files: Files, client: Any) -> None:
    kept(files, b"x")
    for name in ("files:acme", "sizes:files:acme", "ends:files:acme"):
        assert LIFE <= client.pttl(f"{PREFIX}{name}") <= LIFE + 86_400_000


def test_a_file_that_is_needed_stays(files: Files, client: Any) -> None:
    made = kept(files, b"{}\n")
    client.hincrby(f"{PREFIX}file:acme:{made.id}", "needed", 1)
    with pytest.raises(Conflict):
        files.erase("acme", made.id)
    client.hincrby(f"{PREFIX}file:acme:{made.id}", "needed", -1)
    assert not files.erase("other", made.id)
    assert files.erase("acme", made.id)
    assert client.keys(f"{PREFIX}file*") == []


@pytest.mark.parametrize("end", [b"", b"\n"], ids=["open", "closed"])
def test_lines_come_out_as_they_went_in_from_any_place(files: Files, end: bytes) -> None:
    sizes = (0, 1, BLOCK_BYTES, PART_BYTES + 5, 3, 0, BLOCK_BYTES - 1, 2 * PART_BYTES, 7)
    written = [bytes([65 + number]) * size for number, size in enumerate(sizes)]
    made = kept(files, b"\n".join(written) + end)
    found = list(lines(files, made, 0, MOST))
    assert [text for text, _ in found] == written
    assert found[-1][1] == made.size
    for number, (_, offset) in enumerate(found):
        rest = [text for text, _ in lines(files, made, offset, MOST)]
        assert rest == written[number + 1 :]


def test_a_line_that_is_too_long_is_not_read_to_its_end(files: Files) -> None:
    made = kept(files, b"ab\n" + b"x" * (MOST - 3))
    found = lines(files, made, 0, PART_BYTES)
    assert next(found)[0] == b"ab"
    with pytest.raises(InvalidRequest) as refused:
        next(found)
    assert refused.value.code == "line_too_large"
