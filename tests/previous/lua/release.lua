-- Puts a job back unanswered, or ends it where it is not wanted any more; only its current holder can.
-- ARGV: now, id, fence, outcome of the attempt, charge the try (1 or 0), wait ms
-- Returns 1, or 0 where the job is no longer the caller's.
local job = held(ARGV[2], ARGV[3])
if not job then
  return 0
end
let_go(job)
local attempts = ended(job, ARGV[4])
if job.cancel_requested then
  finish(job, 'canceled', { attempts = attempts, compute_stopped = whole(now), reason = 'canceled' })
  return 1
end
write(job.id, { status = 'queued', attempts = attempts, tries = job.tries - 1 + ARGV[5] })
if tonumber(ARGV[6]) > 0 then
  delay(job, whole(now + ARGV[6]))
else
  requeue(job)
end
announce(job, 'queued')
return 1
