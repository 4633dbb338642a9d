"""A queue of very many jobs, quickly: copies of one, which the store makes itself."""

from importlib.resources import files
from typing import Any

from jobs.ledger import Ledger
from jobs.scripts import PREFIX
from tests.ledgers import submitted

_AT_ONCE = 10_000
_COPY = """
local job = read(ARGV[2])
for number = tonumber(ARGV[3]), tonumber(ARGV[4]) do
  job.id = string.format('%s%08x', string.sub(ARGV[2], 1, 28), number)
  job.tenant = 'tenant-' .. number % ARGV[5]
  job.class = CLASSES[number % #CLASSES + 1]
  job.created = whole(now - (ARGV[6] - number) * ARGV[7])
  job.seq = redis.call('INCR', key('seq'))
  write(job.id, job)
  redis.call('ZADD', key('due'), job.due, job.id)
  redis.call('ZADD', key('jobs', job.tenant), job.seq, job.id)
  enqueue(job)
end
"""


def crowd(client: Any, queued: int, tenants: int = 10, apart_ms: int = 0) -> None:
    """Have so many jobs more be queued, by tenants and classes in turn.

    They were accepted ``apart_ms`` after one another, the last one now. All that the ledger counts
    is as if each had been submitted.
    """
    first = submitted(Ledger(client, durability="memory"), "tenant-0")
    script = client.register_script((files("jobs") / "lua" / "shared.lua").read_text() + _COPY)
    for begin in range(1, queued, _AT_ONCE):
        end = min(begin + _AT_ONCE, queued) - 1
        script(keys=[PREFIX], args=[0, first, begin, end, tenants, queued, apart_ms])
