-- Says that somebody wants a job's answer while it grows: whoever runs it, now or later, tells it.
-- ARGV: now, id, tenant
-- Returns 1, or 0 where the tenant has no such job.
local status, tenant = unpack(redis.call('HMGET', key('job', ARGV[2]), 'status', 'tenant'))
if tenant ~= ARGV[3] then
  return 0
end
write(ARGV[2], { listened = 1 })
if status == 'processing' then
  order(ARGV[2], 'listen')
end
return 1
