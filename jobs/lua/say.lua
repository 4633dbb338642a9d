-- Keeps what running jobs say, until they end or it has been still for a while.
-- ARGV: now, ms to keep it, most pieces of a job, then id, fence, offset and text of each piece
-- Returns the ids of jobs that are no longer the caller's: nothing is said for them.
local refused = {}
for i = 4, #ARGV, 4 do
  local id, fence, offset = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local job = redis.call('HMGET', key('job', id), 'status', 'fence')
  if job[1] == 'processing' and job[2] == fence then
    local pieces = key('pieces', id)
    if offset == '0' then
      redis.call('XTRIM', pieces, 'MAXLEN', 0)
    end
    redis.call('XADD', pieces, 'MAXLEN', '~', ARGV[3], '*', 'fence', fence, 'offset', offset, 'text', ARGV[i + 3])
    redis.call('PEXPIRE', pieces, ARGV[2])
  else
    refused[#refused + 1] = id
  end
end
return refused
