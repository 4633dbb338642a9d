"""The store's memory: nothing is accepted any more before there is none left."""

from __future__ import annotations

from jobs.errors import LedgerFull
from jobs.scripts import PREFIX

FULL = f"{PREFIX}full"
"""While sweep.lua keeps this key, submit.lua accepts no job, nobody a picture or a file."""


def full() -> LedgerFull:
    """Return the error that tells a caller so."""
    return LedgerFull("the store has no memory left; try again later", retry_after=30)
