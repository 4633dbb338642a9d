-- Leaves nothing of jobs, wherever they stand; a worker that has one is told to stop.
-- ARGV: now, tenant, then their ids
-- Returns how many of them the tenant had.
local function erase(job)
  if job.status == 'queued' then
    dequeue(job)
  elseif job.status == 'processing' then
    let_go(job)
    order(job.id, 'cancel')
  end
  if not job.finished then
    finish(job, 'canceled', { reason = 'canceled' })
  end
  forget(job)
end

local found = 0
for i = 3, #ARGV do
  local job = read(ARGV[i])
  if job and job.tenant == ARGV[2] then
    erase(job)
    found = found + 1
  end
end
return found
