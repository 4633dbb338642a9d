-- Leaves nothing of a batch that has ended, nor of what it wrote; its input has an end of its own.
-- ARGV: now, batch, tenant
-- Returns 1, 0 where the tenant has no such batch, or -1 where it has not ended.
local ENDED = { completed = true, failed = true, expired = true, cancelled = true }
local id, tenant = ARGV[2], ARGV[3]
local batch = key('batch', id)
local told = redis.call('HMGET', batch, 'tenant', 'status', 'output', 'errors')
if told[1] ~= tenant then
  return 0
end
if not ENDED[told[2]] then
  return -1
end

-- As erase_file.lua does; not in shared.lua, as workers run that and may see no files.
local function erase_file(file_id)
  local file = key('file', tenant, file_id)
  for part = 0, tonumber(redis.call('HGET', file, 'parts') or 0) - 1 do
    redis.call('UNLINK', key('file', tenant, file_id, part))
  end
  redis.call('DEL', file)
  redis.call('ZREM', key('files', tenant), file_id)
  discharge('files', tenant, file)
end

erase_file(told[3])
erase_file(told[4])
redis.call('ZREM', key('batches', tenant), id)
redis.call('DEL', batch)
return 1
