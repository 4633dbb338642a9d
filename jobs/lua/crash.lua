-- Says that a worker is breaking down with a job in its hands, so that nobody waits for the lease.
-- ARGV: now, id, fence, outcome of the attempt, most crashes
-- Returns 1, or 0 where the job is no longer the caller's.
local job = held(ARGV[2], ARGV[3])
if not job then
  return 0
end
crash(job, ARGV[4], tonumber(ARGV[5]))
return 1
