-- Gives the next job of a model to a worker: class by weight, tenant by turn, then age.
-- ARGV: now, model, worker, lease ms, nine digits that tell this call from any other
-- Returns the record as a flat list of fields and values; {} where there is nothing to do; {'wait'} where the
-- worker is to ask again once all that it holds has ended, and to take nothing else meanwhile.
local model, worker, lease = ARGV[2], ARGV[3], tonumber(ARGV[4])
local WAIT = { 'wait' }

-- A worker that is being drained learns so when it renews; until then it asks, and gets nothing.
local function is_drained(name)
  return redis.call('EXISTS', key('drain', name)) == 1
end
if is_drained(worker) then
  return {}
end

local function start(job)
  local attempts = job.attempts and cjson.decode(job.attempts) or {}
  attempts[#attempts + 1] = { number = #attempts + 1, worker = worker, started_at = now }
  -- A failover may lose a claim, and with it the count: the digits make its token unlike the next one.
  local fence = whole(redis.call('INCR', key('fence'))) .. ARGV[5]
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

-- A count that is not as it should be makes no claim fail: what there is to claim is in the queues.
local function mend_count(class)
  local count = redis.call('HGET', key('queued', model), class)
  if count and count ~= '0' then
    redis.call('HSET', key('queued', model), class, 0)
    redis.call('HINCRBY', key('counters'), 'mended_counts', 1)
  end
end

-- Smooth weighted round robin, as nginx shares requests between upstreams: of every twelve claims
-- with all classes waiting, low gets one, and they come evenly spread.
local function next_class()
  local credits, total, best = key('credits', model), 0, nil
  for _, class in ipairs(CLASSES) do
    if redis.call('EXISTS', key('turns', model, class)) == 1 then
      total = total + WEIGHTS[class]
      local credit = redis.call('HINCRBY', credits, class, WEIGHTS[class])
      if not best or credit > best.credit then
        best = { class = class, credit = credit }
      end
    else
      redis.call('HDEL', credits, class)
      mend_count(class)
    end
  end
  if best then
    redis.call('HINCRBY', credits, best.class, -total)
  end
  return best and best.class
end

-- Takes the next job out of a class. Returns its record; nil where there is none.
local function next_job(class)
  local turns = key('turns', model, class)
  local tenant = redis.call('ZRANGE', turns, 0, 0)[1]
  local id = redis.call('ZRANGE', key('queue', model, class, tenant), 0, 0)[1]
  redis.call('ZADD', turns, redis.call('HINCRBY', key('turn'), model .. ':' .. class, 1), tenant)
  if not id then
    redis.call('ZREM', turns, tenant)
    return nil
  end
  local job = read(id)
  dequeue(job or { id = id, place = 'queue', model = model, class = class, tenant = tenant })
  return job
end

local function fail_if_overdue(job)
  local reason = lapsed(job)
  if reason then
    finish(job, 'failed', { reason = reason })
  end
  return reason
end

-- A job that was in flight in a crash is a suspect and runs alone: one worker lets its other jobs run out, takes
-- the suspect, and takes nothing beside it. Other workers go on with the rest.
local alone, suspects = key('alone', model), key('suspects', model)

local function count_held(name)
  return redis.call('SCARD', key('held', name))
end

local function is_alone(name)
  local id = count_held(name) == 1 and redis.call('SMEMBERS', key('held', name))[1]
  return id and tonumber(redis.call('HGET', key('job', id), 'crashes') or 0) > 0
end

local function next_suspect()
  for _, id in ipairs(redis.call('ZRANGE', suspects, 0, 99)) do
    local job = read(id)
    if not job then
      redis.call('ZREM', suspects, id)
    else
      dequeue(job)
      if not fail_if_overdue(job) then
        return job
      end
    end
  end
  return nil
end

if is_alone(worker) then
  return WAIT
end
-- A worker keeps this place for as long as its lease on it, so that no two let their jobs run out for nothing;
-- one that is drained takes no suspect any more.
local host = redis.call('GET', alone)
if redis.call('ZCARD', suspects) > 0 then
  if not host or (is_drained(host) and not is_alone(host)) then
    host = worker
  end
  if host == worker then
    redis.call('SET', alone, worker, 'PX', lease)
    if count_held(worker) > 0 then
      return WAIT
    end
    local job = next_suspect()
    if job then
      return start(job)
    end
    -- All were past their time: there is no suspect left to be alone with.
    redis.call('DEL', alone)
  end
else
  mend_count('suspect')
  if host == worker then
    redis.call('DEL', alone)
  end
end

-- Bounded, so that a queue full of jobs past their deadline cannot hold up the store.
for _ = 1, 100 do
  local class = next_class()
  if not class then
    return {}
  end
  local job = next_job(class)
  if job and not fail_if_overdue(job) then
    return start(job)
  end
end
return {}
