-- Makes the index of keys and tenants anew, in which an older version writes nothing.
-- ARGV: now
-- Returns how many entries it has.
local index = key('keys-by-tenant')
redis.call('DEL', index)
for _, id in ipairs(redis.call('SMEMBERS', key('keys'))) do
  local tenant = redis.call('HGET', key('key', id), 'tenant')
  if tenant then
    redis.call('ZADD', index, 0, tenant .. ',' .. id)
  else
    redis.call('SREM', key('keys'), id)
  end
end
for _, tenant in ipairs(redis.call('SMEMBERS', key('tenants'))) do
  redis.call('ZADD', index, 0, tenant .. ',')
end
return redis.call('ZCARD', index)
