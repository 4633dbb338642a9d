-- Has no job be accepted, or again any; of one tenant, or of all.
-- ARGV: now, tenant or '*', 'pause' or 'resume'
-- Returns 1 where that changed anything, else 0
if ARGV[3] == 'resume' then
  return redis.call('HDEL', key('paused'), ARGV[2])
end
return redis.call('HSETNX', key('paused'), ARGV[2], whole(now))
