-- Notes which job asks again what one asked that ended unanswered, and has nobody look at that any more.
-- A line of a batch that is in none of its files yet stays one: the new job is what answers it.
-- ARGV: now, id, tenant, id of the new job
-- Returns 1, or 0 where the tenant has no such job any more
local job = read(ARGV[2])
if not job or job.tenant ~= ARGV[3] then
  return 0
end
write(job.id, { retried_as = ARGV[4] })
redis.call('ZREM', failures(job.reason), job.id)
-- Erased meanwhile, the new one answers nothing; what is written of it would be a job that never ends.
local again = read(ARGV[4])
if again and is_unwritten(job) and redis.call('HGET', key('batch', job.batch), 'status') == 'in_progress' then
  local lines = key('batch-jobs', job.batch)
  redis.call('HSET', lines, again.id, redis.call('HGET', lines, job.id))
  redis.call('HDEL', lines, job.id)
  write(again.id, { batch = job.batch })
  again.batch = job.batch
  if again.finished then
    tell_batch(again)
  end
end
return 1
