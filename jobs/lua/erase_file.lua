-- Leaves nothing of a file, unless a batch that has not ended needs it.
-- ARGV: now, tenant, id
-- Returns 1, 0 where the tenant has no such file, or -1 where it is needed.
local tenant, id = ARGV[2], ARGV[3]
local file = key('file', tenant, id)
if redis.call('EXISTS', file) == 0 then
  return 0
end
if tonumber(redis.call('HGET', file, 'needed') or 0) > 0 then
  return -1
end
drop_file(tenant, id, file, key('files', tenant))
return 1
