-- Makes a key, in the place of one with the same id.
-- ARGV: now, id, then name and value of each of its fields
local record = key('key', ARGV[2])
redis.call('DEL', record)
redis.call('HSET', record, unpack(ARGV, 3))
redis.call('SADD', key('keys'), ARGV[2])
return 1
