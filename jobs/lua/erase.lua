-- Leaves nothing of a job, wherever it stands; a worker that has it is told to stop.
-- ARGV: now, id, tenant
-- Returns 1, or 0 where the tenant has no such job.
local job = read(ARGV[2])
if not job or job.tenant ~= ARGV[3] then
  return 0
end
if job.status == 'queued' then
  dequeue(job)
elseif job.status == 'processing' then
  let_go(job)
  order(job.id, 'cancel')
end
if not job.finished then
  finish(job, 'canceled', { reason = 'canceled' })
end
for digest, shown_by in pairs(forget(job)) do
  if shown_by <= 0 then
    drop_picture(job.tenant, digest)
  end
end
return 1
