-- Repairs what time has done, for a bounded number of jobs. One process at a time does: the one that leads.
-- ARGV: now, name of who sweeps or '', ms for which it then leads, most jobs to look at, most crashes, lease ms,
--       ms without a sweep after which leases are spared or 0, percent of maxmemory above which nothing is accepted
-- Returns {} where another leads, else {leases expired, jobs ended, retries promoted, jobs forgotten,
--         1 where there may be more to do, 1 where memory is full, {ids of jobs that could not be handled}}
local sweeper, lead, left, most_crashes = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local lease, dark, percent = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])

-- When a job is looked at again that could not be handled.
local POSTPONED = 60 * 1000

if sweeper ~= '' then
  local leader = redis.call('GET', key('sweeper'))
  -- One who leads for longer than anybody may began to before the clock went back.
  if leader and leader ~= sweeper and redis.call('PTTL', key('sweeper')) <= 2 * lead then
    return {}
  end
  redis.call('SET', key('sweeper'), sweeper, 'PX', lead)
end

-- While memory is fuller than it may be, submit.lua accepts no job and nobody stores a picture or a file. What
-- runs goes on, and makes room.
local memory = redis.call('INFO', 'memory')
local used, limit = tonumber(memory:match('used_memory:(%d+)')), tonumber(memory:match('maxmemory:(%d+)'))
local is_full = limit > 0 and used * 100 > limit * percent
if is_full then
  redis.call('SET', key('full'), 1, 'PX', math.max(3 * lead, 10000))
else
  redis.call('DEL', key('full'))
end

-- While the store was away no worker could renew. They live, most likely, and get the time to say so.
local last = tonumber(redis.call('GET', key('swept')) or now)
redis.call('SET', key('swept'), whole(now))
if dark > 0 and now - last > dark then
  for _, id in ipairs(redis.call('ZRANGE', key('leases'), 0, -1)) do
    redis.call('ZADD', key('leases'), 'XX', 'GT', whole(now + lease), id)
  end
elseif now < last then
  -- The clock went back: no lease of before lasts longer than one from now.
  for _, id in ipairs(redis.call('ZRANGE', key('leases'), 0, -1)) do
    redis.call('ZADD', key('leases'), 'XX', 'LT', whole(now + lease), id)
  end
end

-- Handles the jobs of a set whose time has come. One that cannot be handled holds up no other.
local broken = {}
local function each_due(name, handle)
  local ids = redis.call('ZRANGEBYSCORE', key(name), '-inf', whole(now), 'LIMIT', 0, left)
  left = left - #ids
  for _, id in ipairs(ids) do
    local is_done = pcall(function()
      local job = read(id)
      if job then
        handle(job)
      else
        redis.call('ZREM', key(name), id)
      end
    end)
    if not is_done then
      broken[#broken + 1] = id
      redis.call('ZADD', key(name), whole(now + POSTPONED), id)
    end
  end
  return #ids
end

local expired = each_due('leases', function(job)
  crash(job, 'lease_expired', most_crashes)
end)
if expired > 0 then
  redis.call('HINCRBY', key('counters'), 'expired_leases', expired)
end

local overdue = each_due('due', function(job)
  local fields = { reason = lapsed(job) }
  if job.status == 'processing' then
    let_go(job)
    fields.attempts = ended(job, fields.reason)
    order(job.id, 'cancel')
    finish(job, 'failed', fields)
  elseif job.status == 'queued' then
    dequeue(job)
    finish(job, 'failed', fields)
  end -- else it followed a job before it in this list, and has ended with it
end)

local delayed = each_due('delayed', function(job)
  dequeue(job)
  requeue(job)
end)

-- A worker of an older version ends a job and tells nobody.
each_due('untold', function(job)
  if job.finished then
    notify(job, job.status)
  else
    redis.call('ZADD', key('untold'), whole(now + LOOK_AGAIN), job.id)
  end
end)

local forgotten = each_due('retained', function(job)
  if is_untold(job) then
    keep(job, job.webhook_since + tried_for(job.retention) + 1)
  elseif is_unwritten(job) then
    keep(job)
  else
    forget(job)
  end
end)

if #broken > 0 then
  redis.call('HINCRBY', key('counters'), 'unswept', #broken)
end
return { expired, overdue, delayed, forgotten, left <= 0 and 1 or 0, is_full and 1 or 0, broken }
