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

for _, file_id in ipairs({ told[3], told[4] }) do
  drop_file(tenant, file_id, key('file', tenant, file_id), key('files', tenant))
end
redis.call('ZREM', key('batches', tenant), id)
redis.call('DEL', batch)
return 1
