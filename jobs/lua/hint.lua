-- Gives the broker hints.
-- ARGV: now, Celery's queue, the most that it holds, then each hint
return hint(ARGV[2], ARGV[3], 4, #ARGV)
