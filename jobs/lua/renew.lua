-- Says that a worker is alive, and keeps what it holds.
-- ARGV: now, worker, model, lease ms, facts about the worker as JSON, ms within which a claim is heard of,
--       then id and fence of each job held
-- Returns {ids it holds no longer, ids it is asked to stop, 'finish' or 'hand_back' where it is drained, else ''}
local worker, model, lease = ARGV[2], ARGV[3], tonumber(ARGV[4])
local lost, unwanted = {}, {}
local known = {}
for i = 7, #ARGV, 2 do
  known[ARGV[i]] = true
  local job = held(ARGV[i], ARGV[i + 1])
  if not job then
    lost[#lost + 1] = ARGV[i]
  else
    redis.call('ZADD', key('leases'), whole(now + lease), job.id)
    if job.cancel_requested then
      unwanted[#unwanted + 1] = job.id
    end
  end
end
-- The reply to a claim may be lost: the ledger has given a job away, and the worker does not know.
for _, id in ipairs(redis.call('SMEMBERS', key('held', worker))) do
  local job = not known[id] and read(id)
  if job and job.status == 'processing' and job.worker == worker then
    local attempts = cjson.decode(job.attempts)
    if attempts[#attempts].started_at + ARGV[6] <= now then
      give_back(job, 'unheard', 0, 0)
    end
  end
end
redis.call('SADD', key('models'), model)
redis.call('SET', key('worker', worker), ARGV[5], 'PX', lease)
redis.call('ZREMRANGEBYSCORE', key('workers', model), '-inf', whole(now))
redis.call('ZADD', key('workers', model), whole(now + lease), worker)
if redis.call('EXISTS', key('held', worker)) == 1 and runs_suspects(worker, model) then
  redis.call('PEXPIRE', key('alone', model), lease)
end
local drain = redis.call('GET', key('drain', worker))
if drain then
  redis.call('PEXPIRE', key('drain', worker), DRAIN_KEPT)
end
return { lost, unwanted, drain or '' }
