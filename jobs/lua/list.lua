-- Finds a tenant's jobs, newest first.
-- ARGV: now, tenant, group or '', status or '', number below which to look or '', most to return,
--       most to look at
-- Returns {number below which the next call has to look, or '', record, record ...}
local tenant, group, status, most = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[6])
local index = group ~= '' and key('group', tenant, group) or key('jobs', tenant)
local below = ARGV[5] ~= '' and '(' .. ARGV[5] or '+inf'
local found = redis.call('ZREVRANGEBYSCORE', index, below, '-inf', 'WITHSCORES', 'LIMIT', 0, ARGV[7] + 1)
local reply = { '' }
for i = 1, #found, 2 do
  if #reply > most or (i + 1) / 2 > tonumber(ARGV[7]) then
    reply[1] = found[i - 1]
    break
  end
  local record = key('job', found[i])
  if status == '' or redis.call('HGET', record, 'status') == status then
    reply[#reply + 1] = redis.call('HGETALL', record)
  end
end
return reply
