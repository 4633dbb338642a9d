-- Lists tenants that have keys or limits, by name.
-- ARGV: now, name behind which to look or '', most to return
-- Returns {1 where there are more, else 0, then name, how many of its jobs wait, and its limits, of each}
local index, name = key('keys-by-tenant'), ARGV[2]
local reply = { 0 }
while true do
  -- '-' comes next to the comma behind a name, so that this is behind all keys of that tenant.
  local lowest = name == '' and '-' or '[' .. name .. '-'
  local entry = redis.call('ZRANGEBYLEX', index, lowest, '+', 'LIMIT', 0, 1)[1]
  if not entry then
    return reply
  end
  name = string.match(entry, '^[^,]*')
  if #reply > tonumber(ARGV[3]) then
    reply[1] = 1
    return reply
  end
  local waiting = redis.call('HGET', key('queued-by-tenant'), name) or '0'
  reply[#reply + 1] = { name, waiting, redis.call('HGETALL', key('limits', name)) }
end
