-- Makes a key unknown.
-- ARGV: now, id
-- Returns 1, or 0 where there is no such key.
local id, record = ARGV[2], key('key', ARGV[2])
local tenant = redis.call('HGET', record, 'tenant')
if tenant then
  redis.call('ZREM', key('keys-by-tenant'), tenant .. ',' .. id)
end
redis.call('SREM', key('keys'), id)
return redis.call('DEL', record)
