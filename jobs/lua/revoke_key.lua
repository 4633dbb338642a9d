-- Makes a key unknown.
-- ARGV: now, id
-- Returns 1, or 0 where there is no such key.
redis.call('SREM', key('keys'), ARGV[2])
return redis.call('DEL', key('key', ARGV[2]))
