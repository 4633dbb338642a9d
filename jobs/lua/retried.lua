-- Notes which job asks again what one asked that ended unanswered, and has nobody look at that any more.
-- ARGV: now, id, tenant, id of the new job
-- Returns 1, or 0 where the tenant has no such job any more
local job = read(ARGV[2])
if not job or job.tenant ~= ARGV[3] then
  return 0
end
write(job.id, { retried_as = ARGV[4] })
redis.call('ZREM', failures(job.reason), job.id)
return 1
