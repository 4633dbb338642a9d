-- Repairs what time has done, a bounded amount at a time.
-- ARGV: now, most crashes, most jobs to look at of each kind
-- Returns {leases expired, jobs ended, retries promoted, jobs forgotten}
local most_crashes, limit = tonumber(ARGV[2]), ARGV[3]

local function due(name)
  return redis.call('ZRANGEBYSCORE', key(name), '-inf', whole(now), 'LIMIT', 0, limit)
end

local leases = due('leases')
for _, id in ipairs(leases) do
  local job = read(id)
  let_go(job)
  local crashes = job.crashes + 1
  local fields = { attempts = ended(job, 'lease_expired'), crashes = crashes }
  if job.cancel_requested then
    fields.reason = 'canceled'
    finish(job, 'canceled', fields)
  elseif crashes >= most_crashes then
    fields.reason = 'poison'
    finish(job, 'failed', fields)
  else
    fields.status = 'queued'
    write(id, fields)
    suspect(job)
    announce(job, 'queued')
  end
end

local overdue = due('due')
for _, id in ipairs(overdue) do
  local job = read(id)
  local fields = { reason = lapsed(job) }
  if job.status == 'processing' then
    let_go(job)
    fields.attempts = ended(job, fields.reason)
    redis.call('PUBLISH', key('changes'), id .. ' cancel')
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

local retained = due('retained')
for _, id in ipairs(retained) do
  local job = read(id)
  redis.call('ZREM', key('retained'), id)
  redis.call('DEL', key('job', id))
  reindex(job)
  redis.call('ZREM', key('jobs', job.tenant), id)
  if job.group ~= '' then
    redis.call('ZREM', key('group', job.tenant, job.group), id)
  end
end

return { #leases, #overdue, #delayed, #retained }
