-- Gives the next job of a model to a worker: class by weight, tenant by turn, then age.
-- ARGV: now, model, worker, lease ms
-- Returns the record as a flat list of fields and values; empty where there is nothing to do.
local model, worker, lease = ARGV[2], ARGV[3], tonumber(ARGV[4])

-- A worker that is being drained learns so when it renews; until then it asks, and gets nothing.
if redis.call('EXISTS', key('drain', worker)) == 1 then
  return {}
end

local function start(job)
  local attempts = job.attempts and cjson.decode(job.attempts) or {}
  attempts[#attempts + 1] = { number = #attempts + 1, worker = worker, started_at = now }
  local fence = redis.call('INCR', key('fence'))
  if not job.started then
    tally_duration('wait', now - job.created)
  end
  write(job.id, {
    status = 'processing', place = '', worker = worker, fence = fence, tries = job.tries + 1,
    started = job.started or whole(now), attempts = cjson.encode(attempts),
  })
  redis.call('ZADD', key('leases'), whole(now + lease), job.id)
  redis.call('SADD', key('held', worker), job.id)
  redis.call('HSET', key('claimed'), model, whole(now))
  announce(job, 'processing')
  return redis.call('HGETALL', key('job', job.id))
end

-- Smooth weighted round robin, as nginx shares requests between upstreams: of every twelve claims
-- with all classes waiting, low gets one, and they come evenly spread.
local function next_class()
  local credits, total, best = key('credits', model), 0, nil
  for _, class in ipairs(CLASSES) do
    if tonumber(redis.call('HGET', key('queued', model), class) or 0) > 0 then
      total = total + WEIGHTS[class]
      local credit = redis.call('HINCRBY', credits, class, WEIGHTS[class])
      if not best or credit > best.credit then
        best = { class = class, credit = credit }
      end
    else
      redis.call('HDEL', credits, class)
    end
  end
  if best then
    redis.call('HINCRBY', credits, best.class, -total)
  end
  return best and best.class
end

local function next_job()
  local class = next_class()
  if not class then
    return nil
  end
  local turns = key('turns', model, class)
  local tenant = redis.call('ZRANGE', turns, 0, 0)[1]
  local id = redis.call('ZRANGE', key('queue', model, class, tenant), 0, 0)[1]
  local job = read(id)
  redis.call('ZADD', turns, redis.call('HINCRBY', key('turn'), model .. ':' .. class, 1), tenant)
  dequeue(job)
  return job
end

local function fail_if_overdue(job)
  local reason = lapsed(job)
  if reason then
    finish(job, 'failed', { reason = reason })
  end
  return reason
end

-- A job that was in flight in a crash runs alone: one worker lets its other jobs run out, takes the
-- suspect, and takes nothing beside it. Other workers go on with the rest.
local alone = key('alone', model)
local suspects = key('suspects', model)
local function idle(name)
  return redis.call('SCARD', key('held', name)) == 0
end

local host = redis.call('GET', alone)
if redis.call('ZCARD', suspects) > 0 then
  if not host or (host ~= worker and idle(host)) then
    host = worker
  end
  if host == worker then
    redis.call('SET', alone, worker, 'PX', lease)
    if not idle(worker) then
      return {}
    end
    for _, id in ipairs(redis.call('ZRANGE', suspects, 0, 99)) do
      local job = read(id)
      dequeue(job)
      if not fail_if_overdue(job) then
        return start(job)
      end
    end
    -- All were past their time: there is no suspect left to be alone with.
    redis.call('DEL', alone)
  end
elseif host == worker then
  if not idle(worker) then
    return {}
  end
  redis.call('DEL', alone)
end

-- Bounded, so that a queue full of jobs past their deadline cannot hold up the store.
for _ = 1, 100 do
  local job = next_job()
  if not job then
    return {}
  end
  if not fail_if_overdue(job) then
    return start(job)
  end
end
return {}
