-- Makes a key, in the place of one with the same id.
-- ARGV: now, id, ms after which nothing is known of it or '', then name and value of each of its fields
local record, keys = key('key', ARGV[2]), key('keys')
local index, before = key('keys-by-tenant'), redis.call('HGET', record, 'tenant')
if before then
  redis.call('ZREM', index, before .. ',' .. ARGV[2])
end
redis.call('DEL', record)
redis.call('HSET', record, unpack(ARGV, 4))
redis.call('ZADD', index, 0, redis.call('HGET', record, 'tenant') .. ',' .. ARGV[2])
if ARGV[3] ~= '' then
  redis.call('PEXPIRE', record, ARGV[3])
end
-- Of the others a few are looked at: whatever has gone, or expired a month ago in an older program's hands.
local LONG_AGO = now / 1000 - 30 * 24 * 3600
for _, id in ipairs(redis.call('SRANDMEMBER', keys, 20)) do
  local expires = redis.call('HGET', key('key', id), 'expires')
  if expires and tonumber(expires) and tonumber(expires) < LONG_AGO then
    redis.call('DEL', key('key', id))
  end
  if redis.call('EXISTS', key('key', id)) == 0 then
    redis.call('SREM', keys, id)
  end
end
redis.call('SADD', keys, ARGV[2])
return 1
