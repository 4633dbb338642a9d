-- Leaves nothing of a file, unless a batch that has not ended needs it.
-- ARGV: now, tenant, id
-- Returns 1, 0 where the tenant has no such file, or -1 where it is needed.
local tenant, id = ARGV[2], ARGV[3]
local file = key('file', tenant, id)
local parts = redis.call('HGET', file, 'parts')
if not parts then
  return 0
end
if tonumber(redis.call('HGET', file, 'needed') or 0) > 0 then
  return -1
end
for part = 0, parts - 1 do
  redis.call('UNLINK', key('file', tenant, id, part))
end
redis.call('DEL', file)
redis.call('ZREM', key('files', tenant), id)
discharge('files', tenant, file)
return 1
