-- Counts something that no change of a job's state goes with.
-- ARGV: now, name, by
return redis.call('HINCRBY', key('counters'), ARGV[2], ARGV[3])
