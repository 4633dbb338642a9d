-- Begins a batch over a file, which is kept until the batch has ended.
-- ARGV: now, tenant, id, input file, output file, error file, endpoint, window as its caller wrote it,
--       window ms, metadata as JSON, ms for which what it writes is kept once it has ended, most open batches
-- Returns {'begun', record} | {'file_missing'} | {'batches_full'}
local tenant, id, input = ARGV[2], ARGV[3], ARGV[4]
local batches = key('batches', tenant)
local batch, file, open = key('batch', id), key('file', tenant, input), key('open-batches')
-- The client sends a command again whose reply it did not hear.
if redis.call('EXISTS', batch) == 1 then
  return { 'begun', redis.call('HGETALL', batch) }
end
local parts = redis.call('HGET', file, 'parts')
if not parts or redis.call('HGET', file, 'purpose') ~= 'batch' then
  return { 'file_missing' }
end
if tonumber(redis.call('HGET', open, tenant) or 0) >= tonumber(ARGV[12]) then
  return { 'batches_full' }
end

local expires = now + ARGV[9]
-- An hour in which what is left can be written down.
local life = ARGV[9] + 3600 * 1000
if tonumber(redis.call('HGET', file, 'expires')) < now + life then
  redis.call('HSET', file, 'expires', whole(now + life))
  redis.call('PEXPIRE', file, whole(life))
  for part = 0, parts - 1 do
    redis.call('PEXPIRE', key('file', tenant, input, part), whole(life))
  end
  charge('files', tenant, file, tonumber(redis.call('HGET', file, 'bytes')), life)
  outlive(key('files', tenant), life)
end
redis.call('HINCRBY', file, 'needed', 1)
redis.call('HINCRBY', open, tenant, 1)
redis.call('HSET', batch, 'id', id, 'tenant', tenant, 'status', 'validating', 'endpoint', ARGV[7], 'window', ARGV[8],
  'input', input, 'output', ARGV[5], 'errors', ARGV[6], 'metadata', ARGV[10], 'created', whole(now),
  'expires', whole(expires), 'keep', ARGV[11], 'line', 0, 'offset', 0)
redis.call('ZADD', batches, redis.call('INCR', key('seq')), id)
trim(batches, 'batch')
outlive(batches, life + ARGV[11])
redis.call('ZADD', key('batch-turns'), whole(now), id)
return { 'begun', redis.call('HGETALL', batch) }
