-- Ends a job; only its current holder can.
-- ARGV: now, id, fence, status, then fields and values of the outcome
-- Returns 1, or 0 where the job is no longer the caller's.
local job = held(ARGV[2], ARGV[3])
if not job then
  return 0
end
local fields = { attempts = ended(job, ARGV[4]) }
for i = 5, #ARGV, 2 do
  fields[ARGV[i]] = ARGV[i + 1]
end
if ARGV[4] == 'canceled' then
  fields.compute_stopped = whole(now)
  fields.reason = why_withdrawn(job)
end
if ARGV[4] == 'succeeded' then
  -- How long answers take at present, for forecasts.
  local attempts = cjson.decode(job.attempts)
  redis.call('LPUSH', key('pace', job.model), whole(now - attempts[#attempts].started_at))
  redis.call('LTRIM', key('pace', job.model), 0, 99)
end
let_go(job)
finish(job, ARGV[4], fields)
return 1
