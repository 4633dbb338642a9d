"""Compaction: the store's append-only file written anew, without what was erased since."""

from __future__ import annotations

import time

import redis

from jobs.errors import StoreUnavailable
from jobs.store import told_plainly

_LOOK_S = 0.05


def compact(client: redis.Redis, within_s: float) -> None:
    """Have the store write its file anew, and return once what was erased is in it no more.

    Raises StoreUnavailable where that fails, or takes longer than ``within_s`` seconds.
    """
    give_up = time.monotonic() + within_s
    # One that was under way may have read what has been erased meanwhile, and does not count.
    _until_none_is_under_way(client, give_up)
    with told_plainly():
        client.bgrewriteaof()
    if _until_none_is_under_way(client, give_up) != "ok":
        raise StoreUnavailable("the store could not write its file anew; its log says why")


def _until_none_is_under_way(client: redis.Redis, give_up: float) -> str:
    while True:
        with told_plainly():
            told = client.info("persistence")
        if not told["aof_rewrite_in_progress"] and not told["aof_rewrite_scheduled"]:
            return str(told["aof_last_bgrewrite_status"])
        if time.monotonic() > give_up:
            raise StoreUnavailable("the store still writes its file anew; look again later")
        time.sleep(_LOOK_S)
