-- Finds jobs of a batch that have ended, or are not there any more, and are in none of its files yet.
-- ARGV: now, batch, most
-- Returns {number of jobs that are out, {id, line and custom id, record or {}}, ...}
local out = redis.call('HGETALL', key('batch-jobs', ARGV[2]))
local reply = { #out / 2 }
for i = 1, #out, 2 do
  if #reply > tonumber(ARGV[3]) then
    break
  end
  local seen = redis.call('HMGET', key('job', out[i]), 'id', 'finished')
  if seen[2] or not seen[1] then
    reply[#reply + 1] = { out[i], out[i + 1], redis.call('HGETALL', key('job', out[i])) }
  end
end
return reply
