-- Stops a job: at once where it waits; through its worker where it runs.
-- ARGV: now, id, tenant
-- Returns 1, or 0 where the tenant has no such job.
local job = read(ARGV[2])
if not job or job.tenant ~= ARGV[3] then
  return 0
end
if job.status == 'queued' then
  dequeue(job)
  finish(job, 'canceled', { cancel_requested = whole(now), compute_stopped = whole(now), reason = 'canceled' })
elseif job.status == 'processing' and not job.cancel_requested then
  write(job.id, { cancel_requested = whole(now) })
  redis.call('PUBLISH', key('changes'), job.id .. ' cancel')
end
return 1
