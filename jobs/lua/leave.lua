-- Takes a worker that stops off the list of live ones, and lets others run the suspects that it was to run.
-- ARGV: now, worker, model
local worker, model = ARGV[2], ARGV[3]
redis.call('DEL', key('worker', worker))
redis.call('ZREM', key('workers', model), worker)
if runs_suspects(worker, model) then
  redis.call('DEL', key('alone', model))
end
