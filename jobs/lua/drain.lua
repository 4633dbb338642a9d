-- Has a live worker claim nothing, or go on. What it holds it finishes, or hands back.
-- ARGV: now, worker, 'finish', 'hand_back' or 'resume'
-- Returns 1, or 0 where no live worker has this name
if redis.call('EXISTS', key('worker', ARGV[2])) == 0 then
  return 0
end
if ARGV[3] == 'resume' then
  redis.call('DEL', key('drain', ARGV[2]))
else
  redis.call('SET', key('drain', ARGV[2]), ARGV[3], 'PX', DRAIN_KEPT)
end
return 1
