-- Notes what became of an attempt to tell a receiver; only its current sender can.
-- ARGV: now, id, fence, HTTP status or '', error code or '', verdict (delivered, retry or gone),
--       ms to wait before the next attempt, most attempts to remember
-- Returns 1, or 0 where the attempt is no longer the caller's
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
  redis.call('HSET', key('gone', job.tenant), redis.sha1hex(webhook.url), whole(now))
  redis.call('ZADD', key('gone-tenants'), whole(now), job.tenant)
elseif ARGV[6] == 'retry' then
  status, due = 'pending', whole(now + ARGV[7])
  if tonumber(due) > job.webhook_since + TELL_FOR then
    status, due = 'failed', ''
  end
end
write(job.id, {
  webhook_status = status, webhook_next = due, webhook_attempts = cjson.encode(attempts), webhook_fence = '',
})
if due ~= '' then
  redis.call('ZADD', key('deliveries', webhook.host), due, job.id)
end
keep(job, KEEP_TOLD)
redis.call('HINCRBY', key('counters'), 'webhooks_' .. (status == 'pending' and 'retried' or status), 1)

-- There is room for another one to this receiver now.
take_turn(webhook.host, math.huge)
return 1
