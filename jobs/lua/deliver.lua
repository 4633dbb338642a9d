-- Gives a sender the webhooks that are due, the hosts in turns; no host and no tenant has more than
-- so many under way, over all senders, so that neither can keep others waiting by being slow.
-- ARGV: now, lease ms, most in all, most to one host, most of one tenant
-- Returns the records of the jobs to tell of
local lease, most, at_once = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
-- How long something steps back whose tenant has all under way that it may have.
local STEP_BACK = 1000
local given = {}

local function settle(id, status)
  write(id, { webhook_status = status, webhook_next = '' })
end

-- Returns the record of a job that is still to be told of; settles one that is not.
local function sendable(id)
  local job = read(id)
  if not job or job.webhook_status ~= 'pending' then
    return nil
  end
  if is_gone(job.tenant, cjson.decode(job.webhook).url) then
    settle(id, 'disabled')
  elseif not is_untold(job) then
    settle(id, 'failed')
  else
    return job
  end
end

local function has_room(tenant)
  redis.call('ZREMRANGEBYSCORE', key('sending-of', tenant), '-inf', whole(now))
  return redis.call('ZCARD', key('sending-of', tenant)) < tonumber(ARGV[5])
end

local function give(job, sending)
  for _, leases in ipairs({ sending, key('sending-of', job.tenant) }) do
    redis.call('ZADD', leases, whole(now + lease), job.id)
  end
  write(job.id, {
    webhook_fence = redis.call('INCR', key('fence')), webhook_tries = job.webhook_tries + 1,
    webhook_started = whole(now),
  })
  given[#given + 1] = redis.call('HGETALL', key('job', job.id))
end

for _, host in ipairs(redis.call('ZRANGEBYSCORE', key('receivers'), '-inf', whole(now), 'LIMIT', 0, 100)) do
  if #given >= most then
    break
  end
  local waiting, sending = key('deliveries', host), key('sending', host)
  -- What a sender took that has died since.
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', sending, '-inf', whole(now))) do
    redis.call('ZREM', sending, id)
    redis.call('ZADD', waiting, whole(now), id)
  end
  local room = math.min(most - #given, at_once - redis.call('ZCARD', sending))
  local due = room > 0 and redis.call('ZRANGEBYSCORE', waiting, '-inf', whole(now), 'LIMIT', 0, room) or {}
  for _, id in ipairs(due) do
    redis.call('ZREM', waiting, id)
    local job = sendable(id)
    if job and has_room(job.tenant) then
      give(job, sending)
    elseif job then
      redis.call('ZADD', waiting, whole(now + STEP_BACK), id)
    end
  end
  take_turn(host, at_once)
end
return given
