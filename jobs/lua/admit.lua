-- Says whose a key is and, where it is good, takes one request out of its tenant's.
-- ARGV: now, id of the key, digest of the secret, the installation's requests per minute
-- Returns {record, what `spend` returns or {}}
local flat = redis.call('HGETALL', key('key', ARGV[2]))
local record = {}
for i = 1, #flat, 2 do
  record[flat[i]] = flat[i + 1]
end
local seconds = now / 1000
local is_previous = record.previous_digest == ARGV[3] and seconds < tonumber(record.previous_until)
local has_expired = (record.expires or '') ~= '' and seconds >= tonumber(record.expires)
if has_expired or (record.digest ~= ARGV[3] and not is_previous) then
  return { flat, {} }
end
return { flat, spend(record.tenant, ARGV[4]) }
