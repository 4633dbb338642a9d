"""docs/architecture.md says of every family of keys what it holds and when it goes."""

from __future__ import annotations

import re

from tests.deployment import ROOT
from tests.unit.deploy.test_users import families

TEXT = (ROOT / "docs" / "architecture.md").read_text()


def rows() -> dict[str, str]:
    """The first words of the keys in the table, and when each family goes."""
    table = TEXT.partition("| key (after `lj:`) | type | holds | goes |\n")[2].partition("\n\n")[0]
    cells = [line.split("|") for line in table.splitlines()[1:]]
    return {family: row[4].strip() for row in cells for family in re.findall(r"`([a-z-]+)", row[1])}


def test_the_table_has_every_family_of_keys_and_no_other() -> None:
    assert set(rows()) == families()


def test_the_table_says_of_every_family_when_it_goes() -> None:
    assert [family for family, end in rows().items() if not end] == []
