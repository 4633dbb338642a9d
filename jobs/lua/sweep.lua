-- Repairs what time has done, a bounded amount at a time.
-- ARGV: now, most crashes, most jobs to look at of each kind, lease ms,
--       ms without a sweep after which leases are spared, or 0
-- Returns {leases expired, jobs ended, retries promoted, jobs forgotten}
local most_crashes, limit, lease, dark = tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])

local function due(name)
  return redis.call('ZRANGEBYSCORE', key(name), '-inf', whole(now), 'LIMIT', 0, limit)
end

-- While the store was away no worker could renew. They live, most likely, and get the time to say so.
local last = tonumber(redis.call('GET', key('swept')) or now)
redis.call('SET', key('swept'), whole(now))
if dark > 0 and now - last > dark then
  for _, id in ipairs(redis.call('ZRANGE', key('leases'), 0, -1)) do
    redis.call('ZADD', key('leases'), 'XX', 'GT', whole(now + lease), id)
  end
end

local leases = due('leases')
for _, id in ipairs(leases) do
  crash(read(id), 'lease_expired', most_crashes)
end
if #leases > 0 then
  redis.call('HINCRBY', key('counters'), 'expired_leases', #leases)
end

local overdue = due('due')
for _, id in ipairs(overdue) do
  local job = read(id)
  local fields = { reason = lapsed(job) }
  if job.status == 'processing' then
    let_go(job)
    fields.attempts = ended(job, fields.reason)
    order(id, 'cancel')
    finish(job, 'failed', fields)
  elseif job.status == 'queued' then
    dequeue(job)
    finish(job, 'failed', fields)
  end -- else it followed a job before it in this list, and has ended with it
end

local delayed = due('delayed')
for _, id in ipairs(delayed) do
  local job = read(id)
  dequeue(job)
  requeue(job)
end

-- A worker of an older version ends a job and tells nobody.
for _, id in ipairs(due('untold')) do
  local job = read(id)
  if not job then
    redis.call('ZREM', key('untold'), id)
  elseif job.finished then
    notify(job, job.status)
  else
    redis.call('ZADD', key('untold'), whole(now + LOOK_AGAIN), id)
  end
end

local retained = due('retained')
for _, id in ipairs(retained) do
  local job = read(id)
  if is_untold(job) or is_unwritten(job) then
    keep(job, KEEP_TOLD)
  else
    forget(job)
  end
end

return { #leases, #overdue, #delayed, #retained }
