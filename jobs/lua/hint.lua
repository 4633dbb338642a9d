-- Gives the broker hints, and drops what is more than plenty of them.
-- ARGV: now, Celery's queue, the most that it holds, then each hint

-- Not for the disk: what a store forgets with its memory the sweeper publishes anew, and a sync for each
-- would take the store's time.
redis.set_repl(redis.REPL_NONE)

local queue = key('broker', ARGV[2])
for i = 4, #ARGV do
  redis.call('LPUSH', queue, ARGV[i])
end
redis.call('LTRIM', queue, 0, ARGV[3] - 1)
