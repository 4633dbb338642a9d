-- Keeps a file whose parts are in the store, and gives it a record.
-- ARGV: now, tenant, id, purpose, name, bytes, parts, ms for which it is kept, most bytes that a tenant may keep
-- Returns {'kept', record} | {'files_full', bytes that are kept} | {'lost'}
local tenant, id, parts, life = ARGV[2], ARGV[3], tonumber(ARGV[7]), tonumber(ARGV[8])
local file, files = key('file', tenant, id), key('files', tenant)
-- The client sends a command again whose reply it did not hear.
if redis.call('EXISTS', file) == 1 then
  return { 'kept', redis.call('HGETALL', file) }
end

-- An older program kept files and no account of them.
if redis.call('EXISTS', key('ends', 'files', tenant)) == 0 then
  for _, other in ipairs(redis.call('ZRANGE', files, 0, -1)) do
    local kept = key('file', tenant, other)
    local bytes, left = redis.call('HGET', kept, 'bytes'), redis.call('PTTL', kept)
    if bytes and left > 0 then
      charge('files', tenant, kept, tonumber(bytes), left)
    end
  end
end
local used = charged('files', tenant)
if used + ARGV[6] > tonumber(ARGV[9]) then
  return { 'files_full', whole(used) }
end

for part = 0, parts - 1 do
  if redis.call('PEXPIRE', key('file', tenant, id, part), whole(life)) == 0 then
    return { 'lost' }
  end
end
redis.call('HSET', file, 'id', id, 'purpose', ARGV[4], 'name', ARGV[5], 'bytes', ARGV[6], 'parts', parts,
  'created', whole(now), 'expires', whole(now + life))
redis.call('PEXPIRE', file, whole(life))
redis.call('ZADD', files, redis.call('INCR', key('seq')), id)
charge('files', tenant, file, tonumber(ARGV[6]), life)
trim(files, 'file', tenant)
outlive(files, life)
return { 'kept', redis.call('HGETALL', file) }
