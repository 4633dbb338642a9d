-- Stops a batch: what has not begun is not run, and what runs is stopped through its worker.
-- ARGV: now, batch, tenant, why (cancelled or expired)
-- Returns 1, 0 where the tenant has no such batch, or -1 where it has ended or is about to.
local id, why = ARGV[2], ARGV[4]
local record = key('batch', id)
local told = redis.call('HMGET', record, 'tenant', 'status', 'stopping')
if told[1] ~= ARGV[3] then
  return 0
end
if told[3] then
  return 1
end
if told[2] ~= 'validating' and told[2] ~= 'in_progress' then
  return -1
end
local status = why == 'cancelled' and 'cancelling' or 'finalizing'
redis.call('HSET', record, 'stopping', why, 'status', status, status, whole(now))
for _, job_id in ipairs(redis.call('HKEYS', key('batch-jobs', id))) do
  local job = read(job_id)
  if job then
    withdraw(job, 'canceled')
  end
end
redis.call('ZADD', key('batch-turns'), whole(now), id)
return 1
