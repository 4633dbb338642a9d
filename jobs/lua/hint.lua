-- Gives the broker hints.
-- ARGV: now, Celery's queue, the most that it holds, then each hint
for i = 4, #ARGV do
  hint(ARGV[2], ARGV[3], ARGV[i])
end
