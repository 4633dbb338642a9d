-- Gives a key a new secret; the one before works for a while.
-- ARGV: now, id, digest of the new secret, its last four characters,
--       until when the one before works, in seconds since the epoch
-- Returns 1, or 0 where there is no such key.
local record = key('key', ARGV[2])
local before = redis.call('HMGET', record, 'digest', 'ending')
if not before[1] then
  return 0
end
-- The client sends a command again whose reply it did not hear.
if before[1] == ARGV[3] then
  return 1
end
redis.call('HSET', record, 'digest', ARGV[3], 'ending', ARGV[4], 'previous_digest', before[1],
  'previous_ending', before[2] or '', 'previous_until', ARGV[5])
return 1
