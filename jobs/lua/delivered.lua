-- Notes what became of an attempt to tell a receiver; only its current sender can.
-- ARGV: now, id, fence, HTTP status or '', error code or '', verdict (delivered, retry or gone),
--       ms to wait before the next attempt, most attempts to remember
-- Returns 1, or 0 where the attempt is no longer the caller's

-- How long it is remembered that a URL is gone; then it is tried once more, as it is where a tenant has more of them.
local GONE_KEPT = 30 * 24 * 3600 * 1000
local MOST_GONE = 10000

local function forget_gone(tenant, digests)
  for _, digest in ipairs(digests) do
    redis.call('HDEL', key('gone', tenant), digest)
    redis.call('ZREM', key('gone-since', tenant), digest)
  end
end

local function disable(tenant, digest)
  local gone, since, tenants = key('gone', tenant), key('gone-since', tenant), key('gone-tenants')
  redis.call('HSET', gone, digest, whole(now))
  redis.call('ZADD', since, whole(now), digest)
  redis.call('ZADD', tenants, whole(now), tenant)
  local before = whole(now - GONE_KEPT)
  forget_gone(tenant, redis.call('ZRANGEBYSCORE', since, '-inf', before, 'LIMIT', 0, 100))
  if redis.call('ZCARD', since) > MOST_GONE then
    forget_gone(tenant, redis.call('ZRANGE', since, 0, 0))
  end
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', tenants, '-inf', before, 'LIMIT', 0, 10)) do
    redis.call('DEL', key('gone', other), key('gone-since', other))
    redis.call('ZREM', tenants, other)
  end
  for _, name in ipairs({ gone, since, tenants }) do
    redis.call('PEXPIRE', name, GONE_KEPT)
  end
end

local job = read(ARGV[2])
if not job or job.webhook_status ~= 'pending' or job.webhook_fence ~= ARGV[3] then
  return 0
end
local webhook = cjson.decode(job.webhook)
hush(job)

local attempts = cjson.decode(job.webhook_attempts or '[]')
attempts[#attempts + 1] = {
  at = tonumber(job.webhook_started), status = tonumber(ARGV[4]), error = ARGV[5] ~= '' and ARGV[5] or nil,
}
while #attempts > tonumber(ARGV[8]) do
  table.remove(attempts, 1)
end

local status, due = 'delivered', ''
if ARGV[6] == 'gone' then
  status = 'disabled'
  disable(job.tenant, redis.sha1hex(webhook.url))
elseif ARGV[6] == 'retry' then
  status, due = 'pending', whole(now + ARGV[7])
  if tonumber(due) > job.webhook_since + tried_for(job.retention) then
    status, due = 'failed', ''
  end
end
write(job.id, {
  webhook_status = status, webhook_next = due, webhook_attempts = cjson.encode(attempts), webhook_fence = '',
})
if due ~= '' then
  redis.call('ZADD', key('deliveries', webhook.host), due, job.id)
end
keep(job)
redis.call('HINCRBY', key('counters'), 'webhooks_' .. (status == 'pending' and 'retried' or status), 1)

-- There is room for another one to this receiver now.
take_turn(webhook.host, math.huge)
return 1
