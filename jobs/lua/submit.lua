-- Accepts a job, or says why not.
-- ARGV: now, id, tenant, model, class, group, request, due in ms, has deadline, retention ms, version,
--       idempotency key, fingerprint, tenant limit, total limit, digest of the work or '', repeatable,
--       supersede, webhook as JSON or '', ms in which it would end by forecast,
--       traceparent or '', line of a batch as JSON or '', id of the API key or '',
--       Celery's queue, the most that it holds, a hint or '', most bytes of a tenant's pictures,
--       then digest of each picture, and its bytes, or '' where it is to be there already
-- Returns {'accepted', record, and where it waits for a worker its rank, tenants in turn, jobs in its class} | {'replayed', record} | {'mismatch'} | {'paused'} | {'tenant_full', limit} | {'full'} | {'too_late', ms} |
--         {'image_missing', digest} | {'images_full', most bytes, bytes that are kept} | {'batch_elsewhere'}

-- One script ends all who follow a job, some tens of milliseconds for so many; the next one after
-- them is run for itself, and is the one that later ones follow.
local MOST_FOLLOWERS = 200
-- Jobs that a key finds again; more are let go once they are twice as many, not with each that comes.
local LATEST = 20

local id, tenant, model = ARGV[2], ARGV[3], ARGV[4]
-- The client sends a command again whose reply it did not hear.
if redis.call('EXISTS', key('job', id)) == 1 then
  return { 'accepted', redis.call('HGETALL', key('job', id)) }
end
local idempotency = ARGV[12] ~= '' and key('idempotency', tenant, ARGV[12])

-- A line is taken by whoever is first with it, and only while its batch goes on.
local line = ARGV[22] ~= '' and cjson.decode(ARGV[22])
if line then
  local at = redis.call('HMGET', key('batch', line.batch), 'status', 'line')
  if at[1] ~= 'in_progress' or tonumber(at[2]) ~= line.after then
    return { 'batch_elsewhere' }
  end
end

if idempotency then
  local first = redis.call('HMGET', idempotency, 'job', 'fingerprint')
  if first[1] and redis.call('EXISTS', key('job', first[1])) == 1 then
    if first[2] ~= ARGV[13] then
      return { 'mismatch' }
    end
    return { 'replayed', redis.call('HGETALL', key('job', first[1])) }
  end
end
local paused = redis.call('HMGET', key('paused'), EVERYBODY, tenant)
if paused[1] or paused[2] then
  return { 'paused' }
end
if redis.call('EXISTS', key('full')) == 1 then
  return { 'full' }
end
-- A tenant's own limits come before the installation's.
local own = redis.call('HMGET', key('limits', tenant), 'queued_jobs', 'retention_s', 'image_bytes')
local most_queued = own[1] or ARGV[14]
local retention = own[2] and own[2] * 1000 or tonumber(ARGV[10])
if tonumber(redis.call('HGET', key('queued-by-tenant'), tenant) or 0) >= tonumber(most_queued) then
  return { 'tenant_full', most_queued }
end
if tonumber(redis.call('HGET', key('queued-total'), 'jobs') or 0) >= tonumber(ARGV[15]) then
  return { 'full' }
end

-- An answer that is there, or on its way already, does not wait in the queue.
local is_known = ARGV[16] ~= '' and redis.call('EXISTS', key('same', tenant, ARGV[16])) == 1
if ARGV[9] == '1' and tonumber(ARGV[20]) > tonumber(ARGV[8]) and not is_known then
  return { 'too_late', ARGV[20] }
end

local due = now + ARGV[8]
-- Pictures and the idempotency key go with the job at the latest; by themselves only long after it.
local life = due - now + retention + (ARGV[19] ~= '' and tried_for(retention) + HOUR or 0)
local pictures, new_bytes = {}, 0
for i = 28, #ARGV, 2 do
  pictures[#pictures + 1] = ARGV[i]
  if redis.call('EXISTS', key('image', tenant, ARGV[i])) == 0 then
    if ARGV[i + 1] == '' then
      return { 'image_missing', ARGV[i] }
    end
    new_bytes = new_bytes + #ARGV[i + 1]
  end
end
local too_many = too_many_images(tenant, new_bytes, own[3] or ARGV[27])
if too_many then
  return too_many
end
for i = 28, #ARGV, 2 do
  keep_picture(tenant, ARGV[i], ARGV[i + 1], life)
end

local job = {
  v = ARGV[11], id = id, tenant = tenant, model = model, class = ARGV[5], group = ARGV[6],
  status = 'queued', request = ARGV[7], created = whole(now), due = whole(due), deadline = ARGV[9],
  retention = whole(retention), seq = redis.call('INCR', key('seq')), tries = 0, crashes = 0,
  work = ARGV[16], repeatable = ARGV[17], idempotency = ARGV[12], pictures = table.concat(pictures, ' '),
  webhook = ARGV[19], trace = ARGV[21], batch = line and line.batch or '',
  key = ARGV[23],
}
if job.group ~= '' and ARGV[18] == '1' then
  job.superseding = supersede(tenant, job.group, job.seq, MOST_SUPERSEDED)
end
write(id, job)
use_pictures(job, 1)
redis.call('SADD', key('models'), model)
redis.call('ZADD', key('due'), job.due, id)
redis.call('ZADD', key('jobs', tenant), job.seq, id)
if job.group ~= '' then
  redis.call('ZADD', key('group', tenant, job.group), job.seq, id)
end
if job.key ~= '' and redis.call('LPUSH', asked_with(job), id) > 2 * LATEST then
  redis.call('LTRIM', asked_with(job), 0, LATEST - 1)
end
if line then
  redis.call('HSET', key('batch-jobs', line.batch), id, line.number .. ' ' .. line.custom_id)
  redis.call('HSET', key('batch', line.batch), 'line', line.number, 'offset', whole(line.offset))
end
if job.webhook ~= '' then
  redis.call('ZADD', key('untold'), whole(now + LOOK_AGAIN), id)
end
if idempotency then
  redis.call('HSET', idempotency, 'job', id, 'fingerprint', ARGV[13])
  redis.call('PEXPIRE', idempotency, whole(life))
end
tally('accepted')
announce(job, 'queued')

-- The same work is done once: its answer is there, or a job is about it already, or this one will be.
local same = job.work ~= '' and key('same', tenant, job.work)
local first = same and read(redis.call('GET', same) or '')
if first and first.status == 'succeeded' then
  write(id, { deduplicated_from = first.id })
  share(job, 'succeeded', first)
  redis.call('HINCRBY', key('counters'), 'answered_from_cache', 1)
elseif first and not first.finished
    and redis.call('ZCARD', key('followers', first.id)) < MOST_FOLLOWERS then
  follow(job, first)
  redis.call('HINCRBY', key('counters'), 'coalesced', 1)
else
  enqueue(job)
  if same then
    redis.call('SET', same, id)
  end
  if ARGV[26] ~= '' then
    hint(ARGV[24], ARGV[25], 26, 26)
  end
  return {
    'accepted', redis.call('HGETALL', key('job', id)), redis.call('ZRANK', key('queue', model, job.class, tenant), id),
    redis.call('ZCARD', key('turns', model, job.class)), redis.call('HGET', key('queued', model), job.class),
  }
end
return { 'accepted', redis.call('HGETALL', key('job', id)) }
