-- Takes ids of keys that are not there any more off the list.
-- ARGV: now, then the ids
-- Returns how many that were.
local gone = 0
for i = 2, #ARGV do
  if redis.call('EXISTS', key('key', ARGV[i])) == 0 then
    gone = gone + redis.call('SREM', key('keys'), ARGV[i])
  end
end
return gone
