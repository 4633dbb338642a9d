-- Puts a job back unanswered, or ends it where it is not wanted any more; only its current holder can.
-- ARGV: now, id, fence, outcome of the attempt, charge the try (1 or 0), wait ms
-- Returns 1, or 0 where the job is no longer the caller's.
local job = held(ARGV[2], ARGV[3])
if not job then
  return 0
end
give_back(job, ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]))
return 1
