-- Gives a batch back, unless it has ended; it is taken again after a while, or sooner when one of its jobs ends.
-- ARGV: now, batch, ms after which it is looked at again at the latest, ms after the end of a job
-- Returns 1, or 0 where it has ended.
local id, wait = ARGV[2], tonumber(ARGV[3])
local turns = key('batch-turns')
if not redis.call('ZSCORE', turns, id) then
  return 0
end
if redis.call('LLEN', key('batch-ended', id)) > 0 then
  wait = math.min(wait, tonumber(ARGV[4]))
end
redis.call('HSET', key('batch', id), 'rests', ARGV[4])
redis.call('ZADD', turns, whole(now + wait), id)
return 1
