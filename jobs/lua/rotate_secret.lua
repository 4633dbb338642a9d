-- Sets a tenant's webhook secret; the one before is valid beside it for a while.
-- ARGV: now, tenant, secret, ms for which the one before stays valid, only where there is none (1 or 0)
-- Returns 1, or 0 where there is one and that was not wanted
local secrets = key('webhook-secret', ARGV[2])
local current = redis.call('HGET', secrets, 'current')
if current and ARGV[5] == '1' then
  return 0
end
redis.call('HSET', secrets, 'current', ARGV[3])
if current then
  redis.call('HSET', secrets, 'previous', current, 'previous_until', whole(now + ARGV[4]))
end
return 1
