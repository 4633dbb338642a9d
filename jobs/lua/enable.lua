-- Has webhooks be sent to a URL again that answered that it is gone.
-- ARGV: now, tenant, digest of the URL
-- Returns 1, or 0 where it did not.
redis.call('ZREM', key('gone-since', ARGV[2]), ARGV[3])
return redis.call('HDEL', key('gone', ARGV[2]), ARGV[3])
