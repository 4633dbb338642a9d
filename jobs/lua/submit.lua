-- Accepts a job, or says why not.
-- ARGV: now, id, tenant, model, class, group, request, due in ms, has deadline, retention ms, version,
--       idempotency key, fingerprint, tenant limit, total limit, image digests ...
-- Returns {'accepted', record} | {'replayed', record} | {'mismatch'} | {'tenant_full'} | {'full'} | {'image_missing', digest}
local id, tenant, model = ARGV[2], ARGV[3], ARGV[4]
-- The client sends a command again whose reply it did not hear.
if redis.call('EXISTS', key('job', id)) == 1 then
  return { 'accepted', redis.call('HGETALL', key('job', id)) }
end
local idempotency = ARGV[12] ~= '' and key('idempotency', tenant, ARGV[12])

if idempotency then
  local first = redis.call('HMGET', idempotency, 'job', 'fingerprint')
  if first[1] and redis.call('EXISTS', key('job', first[1])) == 1 then
    if first[2] ~= ARGV[13] then
      return { 'mismatch' }
    end
    return { 'replayed', redis.call('HGETALL', key('job', first[1])) }
  end
end
if tonumber(redis.call('HGET', key('queued-by-tenant'), tenant) or 0) >= tonumber(ARGV[14]) then
  return { 'tenant_full' }
end
if tonumber(redis.call('HGET', key('queued-total'), 'jobs') or 0) >= tonumber(ARGV[15]) then
  return { 'full' }
end

local due, retention = now + ARGV[8], tonumber(ARGV[10])
-- Pictures outlive every job that shows them.
for i = 16, #ARGV do
  local image = key('image', tenant, ARGV[i])
  local left = redis.call('PTTL', image)
  if left == -2 then
    return { 'image_missing', ARGV[i] }
  end
  if left >= 0 and now + left < due + retention then
    redis.call('PEXPIRE', image, whole(due + retention - now))
  end
end

local job = {
  v = ARGV[11], id = id, tenant = tenant, model = model, class = ARGV[5], group = ARGV[6],
  status = 'queued', request = ARGV[7], created = whole(now), due = whole(due), deadline = ARGV[9],
  retention = ARGV[10], seq = redis.call('INCR', key('seq')), tries = 0, crashes = 0,
}
write(id, job)
enqueue(job)
redis.call('SADD', key('models'), model)
redis.call('ZADD', key('due'), job.due, id)
redis.call('ZADD', key('jobs', tenant), job.seq, id)
if job.group ~= '' then
  redis.call('ZADD', key('group', tenant, job.group), job.seq, id)
end
if idempotency then
  redis.call('HSET', idempotency, 'job', id, 'fingerprint', ARGV[13])
  redis.call('PEXPIRE', idempotency, ARGV[10])
end
announce(job, 'queued')
return { 'accepted', redis.call('HGETALL', key('job', id)) }
