-- Stops a job whose only caller is gone. One that others share goes on, until they are gone, too.
-- ARGV: now, id, tenant
-- Returns 1, or 0 where the tenant has no such job.
local function abandon(job)
  if (job.idempotency or '') ~= '' then
    return -- whoever made it may ask again under its key
  end
  if redis.call('ZCARD', key('followers', job.id)) > 0 then
    write(job.id, { abandoned = 1 })
    return
  end
  withdraw(job, 'canceled')
  local leader = job.place == 'following' and read(job.deduplicated_from)
  if leader and leader.abandoned and not leader.finished then
    abandon(leader)
  end
end

local job = read(ARGV[2])
if not job or job.tenant ~= ARGV[3] then
  return 0
end
abandon(job)
return 1
