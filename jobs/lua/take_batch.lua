-- Gives a feeder the open batch whose turn it is, under a lease. Nothing depends on the lease but that two do
-- not do the same work: every script looks whether the batch is where its caller takes it to be.
-- ARGV: now, lease ms
-- Returns {now, record}, or nothing where no batch's turn has come.
local turns = key('batch-turns')
for _, id in ipairs(redis.call('ZRANGEBYSCORE', turns, '-inf', whole(now), 'LIMIT', 0, 100)) do
  redis.call('HDEL', key('batch', id), 'rests')
  local batch = redis.call('HGETALL', key('batch', id))
  if #batch > 0 then
    redis.call('ZADD', turns, whole(now + ARGV[2]), id)
    return { whole(now), batch }
  end
  redis.call('ZREM', turns, id)
end
return {}
