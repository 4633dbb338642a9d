-- Puts a job back unanswered; only its current holder can.
-- ARGV: now, id, fence, outcome of the attempt, charge the try (1 or 0), wait ms
-- Returns 1, or 0 where the job is no longer the caller's.
local job = held(ARGV[2], ARGV[3])
if not job then
  return 0
end
let_go(job)
write(job.id, { status = 'queued', attempts = ended(job, ARGV[4]), tries = job.tries - 1 + ARGV[5] })
if tonumber(ARGV[6]) > 0 then
  delay(job, whole(now + ARGV[6]))
else
  enqueue(job)
end
announce(job, 'queued')
return 1
