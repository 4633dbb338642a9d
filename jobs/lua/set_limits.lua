-- Sets all of a tenant's own limits at once.
-- ARGV: now, tenant, then name and value of each; none: the tenant has none of its own any more
local tenant = ARGV[2]
local limits = key('limits', tenant)
redis.call('DEL', limits)
if #ARGV > 2 then
  redis.call('HSET', limits, unpack(ARGV, 3))
  redis.call('SADD', key('tenants'), tenant)
  redis.call('ZADD', key('keys-by-tenant'), 0, tenant .. ',')
else
  redis.call('SREM', key('tenants'), tenant)
  redis.call('ZREM', key('keys-by-tenant'), tenant .. ',')
end
return 1
