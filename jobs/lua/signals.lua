-- Reads what operators look at, at one moment. It costs no more where more jobs are queued: counts are
-- kept, and of each tenant's queue only the head is looked at.
-- ARGV: now, lease ms of workers, most tenants to look at in each class
-- Returns JSON: {models = {name = {...}}, ended, counters, running, overdue}; times in ms
local lease, most_tenants = tonumber(ARGV[2]), tonumber(ARGV[3])

local function hash(...)
  local found = fields_of(redis.call('HGETALL', key(...)))
  for name, value in pairs(found) do
    found[name] = tonumber(value)
  end
  return found
end

-- How long the oldest claimable job has waited. Where more tenants wait than are looked at, these are
-- the ones that have waited longest for a turn; the turns bring the others here.
local function oldest(model)
  local first, id
  local function look_at(queue)
    local head = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
    if head[2] and (not first or tonumber(head[2]) < first) then
      first, id = tonumber(head[2]), head[1]
    end
  end
  look_at(key('suspects', model))
  for _, class in ipairs(CLASSES) do
    for _, tenant in ipairs(redis.call('ZRANGE', key('turns', model, class), 0, most_tenants - 1)) do
      look_at(key('queue', model, class, tenant))
    end
  end
  local created = id and redis.call('HGET', key('job', id), 'created')
  return created and math.max(0, now - created) or nil
end

local function workers(model)
  local found, told = {}, redis.call('ZRANGE', key('workers', model), 0, -1, 'WITHSCORES')
  for i = 1, #told, 2 do
    local facts = redis.call('GET', key('worker', told[i]))
    if facts then
      found[#found + 1] = {
        name = told[i], facts = facts, jobs = redis.call('SCARD', key('held', told[i])),
        silent = math.max(0, now - (told[i + 1] - lease)),
        drains = redis.call('EXISTS', key('drain', told[i])) == 1,
      }
    end
  end
  return found
end

local models = {}
for _, model in ipairs(redis.call('SMEMBERS', key('models'))) do
  local claimed = redis.call('HGET', key('claimed'), model)
  models[model] = {
    queued = hash('queued', model), oldest = oldest(model), workers = workers(model),
    claimed = claimed and math.max(0, now - claimed) or nil,
  }
end
local receiver = redis.call('ZRANGE', key('receivers'), 0, 0, 'WITHSCORES')
return cjson.encode({
  models = models, ended = hash('ended'), counters = hash('counters'),
  running = redis.call('ZCARD', key('leases')), overdue = math.max(0, now - (receiver[2] or now)),
})
