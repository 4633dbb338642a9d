-- Finds jobs of a batch that have ended, or are not there any more, and are in none of its files yet.
-- ARGV: now, batch, most
-- Returns {number of jobs that are out, {id, line and custom id, record or {}}, ...}
local id = ARGV[2]
local batch, out, ended = key('batch', id), key('batch-jobs', id), key('batch-ended', id)
-- How often all are looked at of which nothing is heard: an older program ends jobs and does not say so.
local LOOK_THROUGH = 60 * 1000

local function look_through()
  for _, job in ipairs(redis.call('HKEYS', out)) do
    local seen = redis.call('HMGET', key('job', job), 'id', 'finished')
    if seen[2] or not seen[1] then
      redis.call('RPUSH', ended, job)
    end
  end
end

local reply = { redis.call('HLEN', out) }
if reply[1] > 0 and redis.call('LLEN', ended) == 0 then
  local looked = redis.call('HMGET', batch, 'looked', 'in_progress')
  if now - tonumber(looked[1] or looked[2] or 0) >= LOOK_THROUGH then
    look_through()
    redis.call('HSET', batch, 'looked', whole(now))
  end
end
for _, job in ipairs(redis.call('LRANGE', ended, 0, ARGV[3] - 1)) do
  local line = redis.call('HGET', out, job)
  if line then
    reply[#reply + 1] = { job, line, redis.call('HGETALL', key('job', job)) }
  else
    redis.call('LREM', ended, 1, job) -- it is written, or another job answers its line
  end
end
return reply
