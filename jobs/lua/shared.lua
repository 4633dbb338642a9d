-- Shared by every script of the ledger: keys, the clock, the queues, and the end of a job.
-- KEYS[1] is the prefix of all keys; KEYS[2] is `durable` where the caller waits until all that the script
-- saw or wrote is on disk. ARGV[1] is the time in milliseconds, or 0 for the server's clock.
-- Redis runs a script as one atomic step, so each state change below is all or nothing.
-- A field that is empty or missing is the same: an older version may have written the record.

local prefix = KEYS[1]

-- The store confirms the last write of a connection. A repeat that changes nothing makes one, too, so that
-- its caller waits for what another connection wrote before.
if KEYS[2] == prefix .. 'durable' then
  redis.call('SET', KEYS[2], '')
end

local function key(...)
  return prefix .. table.concat({ ... }, ':')
end

local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Lua prints large numbers as 1.7e+12; ids and times must stay whole.
local function whole(number)
  return string.format('%.0f', number)
end

-- How long what a call did is remembered: longer than the client sends it again for want of a reply.
local CALL_KEPT = 60 * 1000

-- Does what a call wants and returns its reply; where it was done already, returns that reply again.
-- The last of KEYS is the call's own. One that replies 0 did nothing, and may be tried again.
local function once(act)
  local before = redis.call('GET', KEYS[#KEYS])
  if before then
    return cjson.decode(before)[1]
  end
  local reply = act()
  if reply ~= 0 then
    redis.call('SET', KEYS[#KEYS], cjson.encode({ reply }), 'PX', CALL_KEPT)
  end
  return reply
end

-- In the place of a tenant's name, which begins with a letter or a digit: all of them.
local EVERYBODY = '*'

local WEIGHTS = { high = 8, normal = 3, low = 1 }
local CLASSES = { 'high', 'normal', 'low' }
local STATUSES = { 'queued', 'processing', 'succeeded', 'failed', 'canceled' }

-- The fields of a hash by their names, from a reply of names and values in turn.
local function fields_of(flat)
  local fields = {}
  for i = 1, #flat, 2 do
    fields[flat[i]] = flat[i + 1]
  end
  return fields
end

local function read(id)
  local flat = redis.call('HGETALL', key('job', id))
  return #flat > 0 and fields_of(flat) or nil
end

local function write(id, fields)
  local flat = {}
  for name, value in pairs(fields) do
    flat[#flat + 1] = name
    flat[#flat + 1] = tostring(value)
  end
  redis.call('HSET', key('job', id), unpack(flat))
end

-- A tenant's jobs that are in a state, by order of acceptance.
local function with_status(tenant, status)
  return key('with-status', tenant, status)
end

-- Tells a change of state; the record keeps which events are its own, so that they can go with it.
local function announce(job, status, reason)
  if job.status ~= status then
    redis.call('ZREM', with_status(job.tenant, job.status), job.id)
    job.status = status
  end
  redis.call('ZADD', with_status(job.tenant, status), job.seq, job.id)
  local event = redis.call('XADD', key('events', job.tenant), 'MAXLEN', '~', 100000, '*',
    'job', job.id, 'status', status, 'reason', reason or '', 'at', whole(now))
  job.events = job.events and job.events .. ' ' .. event or event
  write(job.id, { events = job.events })
  redis.call('PUBLISH', key('changes'), job.id .. ' ' .. status .. ' ' .. job.tenant)
end

-- Tells whichever worker runs a job what to do. A worker of a version before listens to all changes.
local function order(id, word)
  redis.call('PUBLISH', key('orders'), id .. ' ' .. word)
  redis.call('PUBLISH', key('changes'), id .. ' ' .. word)
end

local MINUTE = 60 * 1000

-- Counts what happened in this minute. The charts of the last hour are made of it, and then it goes.
local function tally(name)
  local minute = key('minute', whole(math.floor(now / MINUTE)))
  if redis.call('HINCRBY', minute, name, 1) == 1 then
    redis.call('PEXPIRE', minute, 2 * 60 * MINUTE)
  end
end

-- Counts a duration in a histogram whose buckets double every fourth; jobs/figures.py reads it.
local function tally_duration(name, ms)
  tally(name .. ':' .. math.floor(4 * math.log(math.max(ms, 1)) / math.log(2)))
end

-- How many jobs wait, for whatever.
local function count(job, by)
  redis.call('HINCRBY', key('queued-by-tenant'), job.tenant, by)
  redis.call('HINCRBY', key('queued-total'), 'jobs', by)
end

-- How many jobs wait for a worker, by model and class; suspects count as a class of their own.
local function count_claimable(job, class, by)
  redis.call('HINCRBY', key('queued', job.model), class, by)
  count(job, by)
end

local function enqueue(job)
  local queue = key('queue', job.model, job.class, job.tenant)
  redis.call('ZADD', queue, job.seq, job.id)
  local turns = key('turns', job.model, job.class)
  -- A tenant that joins stands behind those who wait for their turn already.
  local turn = redis.call('HGET', key('turn'), job.model .. ':' .. job.class) or 0
  redis.call('ZADD', turns, 'NX', turn, job.tenant)
  count_claimable(job, job.class, 1)
  job.place = 'queue'
  write(job.id, { place = 'queue' })
end

-- Gives the broker the hints from the first to the last argument, and drops what is more than plenty of them.
-- Not for the disk: what a store forgets with its memory the sweeper publishes anew, and a sync for each would
-- take the store's time. Returns what the broker refused, as an error; nothing else depends on it.
local function hint(queue, most, first, last)
  local name, refused = key('broker', queue), nil
  redis.set_repl(redis.REPL_NONE)
  for i = first, last do
    local reply = redis.pcall('LPUSH', name, ARGV[i])
    refused = type(reply) == 'table' and reply.err and reply or refused
  end
  if not refused then
    redis.call('LTRIM', name, 0, most - 1)
  end
  redis.set_repl(redis.REPL_ALL)
  return refused
end

local function suspect(job)
  redis.call('ZADD', key('suspects', job.model), job.seq, job.id)
  count_claimable(job, 'suspect', 1)
  write(job.id, { place = 'suspects' })
end

-- A job that was part of a crash runs alone until it ends, however often it comes back.
local function requeue(job)
  if tonumber(job.crashes) > 0 then
    suspect(job)
  else
    enqueue(job)
  end
end

local function delay(job, due)
  redis.call('ZADD', key('delayed'), due, job.id)
  count(job, 1)
  write(job.id, { place = 'delayed' })
end

-- Takes a queued job out of wherever it waits.
local function dequeue(job)
  if job.place == 'queue' then
    local queue = key('queue', job.model, job.class, job.tenant)
    redis.call('ZREM', queue, job.id)
    if redis.call('EXISTS', queue) == 0 then
      redis.call('ZREM', key('turns', job.model, job.class), job.tenant)
    end
    count_claimable(job, job.class, -1)
  elseif job.place == 'suspects' then
    redis.call('ZREM', key('suspects', job.model), job.id)
    count_claimable(job, 'suspect', -1)
  elseif job.place == 'following' then
    redis.call('ZREM', key('followers', job.deduplicated_from), job.id)
    count(job, -1)
  else
    redis.call('ZREM', key('delayed'), job.id)
    count(job, -1)
  end
  if redis.call('HGET', key('queued-by-tenant'), job.tenant) == '0' then
    redis.call('HDEL', key('queued-by-tenant'), job.tenant)
  end
end

-- How long a worker that runs suspects has to ask for the next one, before another may.
local NEXT_SUSPECT_WITHIN = 5000

local function runs_suspects(worker, model)
  return redis.call('GET', key('alone', model)) == worker
end

local function let_go(job)
  redis.call('ZREM', key('leases'), job.id)
  redis.call('SREM', key('held', job.worker), job.id)
  if redis.call('EXISTS', key('held', job.worker)) == 0 and runs_suspects(job.worker, job.model) then
    redis.call('PEXPIRE', key('alone', job.model), NEXT_SUSPECT_WITHIN)
  end
end

-- The attempts with the last one ended.
local function ended(job, outcome)
  local attempts = cjson.decode(job.attempts)
  attempts[#attempts].ended_at = now
  attempts[#attempts].outcome = outcome
  return cjson.encode(attempts)
end

-- Moves an open job to a higher class, in its own place there.
local function raise(job, class)
  if WEIGHTS[class] <= WEIGHTS[job.class] then
    return
  end
  local waits = job.place == 'queue'
  if waits then
    dequeue(job)
  end
  job.class = class
  write(job.id, { class = class })
  if waits then
    enqueue(job)
  end
end

-- Has a job wait for the outcome of another one that asks the same, rather than for a worker.
local function follow(job, leader)
  redis.call('ZADD', key('followers', leader.id), job.seq, job.id)
  count(job, 1)
  write(job.id, { place = 'following', deduplicated_from = leader.id })
  raise(leader, job.class)
end

local function lapsed(job)
  return tonumber(job.due) <= now and (job.deadline == '1' and 'deadline' or 'expired')
end

local HOUR = 60 * MINUTE

-- How long a receiver is tried, from the end of a job or from when it was asked to be told again: in proportion
-- to the job's retention, so that a receiver that is away does not keep what is to be gone in minutes for days.
local function tried_for(retention)
  return math.min(math.max(3 * retention, HOUR), 3 * 24 * HOUR)
end

-- How long it is remembered that a worker is to claim nothing, which each of its renewals puts off.
local DRAIN_KEPT = 24 * 3600 * 1000

-- How often it is looked whether an open job with a webhook has ended without its end being told.
local LOOK_AGAIN = 30 * 1000

-- Whether a receiver has answered that it is gone.
local function is_gone(tenant, url)
  return redis.call('HEXISTS', key('gone', tenant), redis.sha1hex(url)) == 1
end

-- Has a receiver's turn come when there is next something to do, behind those whose turn has come.
-- It takes `at_once` at a time; what is under way comes back when its sender's lease has run out.
local function take_turn(host, at_once)
  local waiting, sending = key('deliveries', host), key('sending', host)
  local due = redis.call('ZCARD', sending) < at_once and redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2]
  local lapse = redis.call('ZRANGE', sending, 0, 0, 'WITHSCORES')[2]
  if due or lapse then
    local at = math.min(tonumber(due or lapse), tonumber(lapse or due))
    redis.call('ZADD', key('receivers'), whole(math.max(at, now)), host)
  else
    redis.call('ZREM', key('receivers'), host)
  end
end

-- Has the end of a job be told to its receiver as soon as it can be.
local function tell(job, webhook)
  if is_gone(job.tenant, webhook.url) then
    write(job.id, { webhook_status = 'disabled', webhook_next = '' })
    return
  end
  write(job.id, {
    webhook_status = 'pending', webhook_since = whole(now), webhook_next = whole(now), webhook_tries = 0,
    webhook_fence = '',
  })
  redis.call('ZADD', key('deliveries', webhook.host), whole(now), job.id)
  redis.call('ZADD', key('receivers'), 'LT', whole(now), webhook.host)
end

-- Whether a receiver is still to be told of a job's end.
local function is_untold(job)
  return job.webhook_status == 'pending' and now <= job.webhook_since + tried_for(job.retention)
end

-- Whether a job's answer is still to come into the files of its batch.
local function is_unwritten(job)
  return (job.batch or '') ~= '' and redis.call('HEXISTS', key('batch-jobs', job.batch), job.id) == 1
end

-- Has the end of a job come into the files of its batch: when it is the batch's turn, or sooner where nobody
-- has the batch. What ends meanwhile is written with it.
local function tell_batch(job)
  if not is_unwritten(job) then
    return
  end
  local ended = key('batch-ended', job.batch)
  if redis.call('RPUSH', ended, job.id) == 1 then
    -- No longer than a batch is open: an older program takes nothing out.
    redis.call('PEXPIRE', ended, 2 * 24 * 3600 * 1000)
  end
  local rests = redis.call('HGET', key('batch', job.batch), 'rests')
  if rests then
    redis.call('ZADD', key('batch-turns'), 'XX', 'LT', whole(now + rests), job.batch)
  end
end

-- Has the end of a job be told, where its submitter wants to hear of such an end.
local function notify(job, status)
  if (job.webhook or '') == '' then
    return
  end
  redis.call('ZREM', key('untold'), job.id)
  local webhook = cjson.decode(job.webhook)
  for _, event in ipairs(webhook.events) do
    if event == 'completed' or event == status then
      tell(job, webhook)
      return
    end
  end
end

-- Takes a job out of all that would tell its receiver of it.
local function hush(job)
  if (job.webhook or '') == '' then
    return
  end
  local host = cjson.decode(job.webhook).host
  local queues = {
    key('untold'), key('deliveries', host), key('sending', host), key('sending-of', job.tenant),
  }
  for _, queue in ipairs(queues) do
    redis.call('ZREM', queue, job.id)
  end
  take_turn(host, math.huge)
end

-- Keeps an ended job for a while, so that the link in a webhook leads somewhere: for an hour, or its retention
-- where that is shorter; for a minute at least, as it is looked at again then; and not beyond `latest`.
local function keep(job, latest)
  local ms = math.max(math.min(tonumber(job.retention), HOUR), MINUTE)
  local expires = whole(math.max(tonumber(job.expires), math.min(now + ms, latest or math.huge)))
  write(job.id, { expires = expires })
  redis.call('ZADD', key('retained'), expires, job.id)
end

-- Failed jobs by reason, for those who are to look at them; one that was asked again is none of them.
local function failures(reason)
  return key('failed', (reason or '') ~= '' and reason or 'error')
end

-- Writes and tells the end of a job.
local function close(job, status, fields)
  redis.call('ZREM', key('due'), job.id)
  fields.status = status
  fields.finished = whole(now)
  fields.expires = whole(now + job.retention)
  fields.place = ''
  write(job.id, fields)
  redis.call('DEL', key('pieces', job.id)) -- all that it said is in its answer now
  redis.call('ZADD', key('retained'), fields.expires, job.id)
  redis.call('HINCRBY', key('ended'), status .. ':' .. (fields.reason or '') .. ':' .. job.model, 1)
  tally(status)
  if status == 'succeeded' then
    tally_duration('whole', now - job.created)
  elseif status == 'failed' then
    redis.call('ZADD', failures(fields.reason), fields.finished, job.id)
  end
  announce(job, status, fields.reason)
  notify(job, status)
  tell_batch(job)
end

-- Ends a job as another one that asked the same has ended; nothing was computed for it.
local function share(job, status, outcome)
  local usage = outcome.usage and cjson.decode(outcome.usage)
  if usage then
    usage.cached_tokens = usage.prompt_tokens
  end
  close(job, status, {
    reason = outcome.reason, answer = outcome.answer, error = outcome.error,
    usage = usage and cjson.encode(usage) or nil,
  })
end

local function each_follower(job, act)
  for _, id in ipairs(redis.call('ZRANGE', key('followers', job.id), 0, -1)) do
    local follower = read(id)
    -- An older program, which knows no followers, may have ended one in its own right.
    if follower and follower.place == 'following' then
      act(follower)
    end
  end
end

-- Has the oldest follower do the work that its leader did not, and lead the rest. Those past their
-- time end here, so that no script promotes one after the other.
local function promote(job)
  local heir
  each_follower(job, function(follower)
    local reason = lapsed(follower)
    if reason then
      dequeue(follower)
      close(follower, 'failed', { reason = reason })
    elseif not heir then
      dequeue(follower)
      write(follower.id, { deduplicated_from = '' })
      heir = follower
      enqueue(heir)
    else
      write(follower.id, { deduplicated_from = heir.id })
      raise(heir, follower.class)
    end
  end)
  if heir and redis.call('EXISTS', key('followers', job.id)) == 1 then
    redis.call('RENAME', key('followers', job.id), key('followers', heir.id))
  end
  return heir
end

-- Keeps the way from a piece of work to the job that does it, or has done it for whoever asks again.
local function reindex(job, status, heir)
  local same = key('same', job.tenant, job.work or '')
  if redis.call('GET', same) ~= job.id then
    return
  end
  if heir then
    redis.call('SET', same, heir.id)
  elseif status == 'succeeded' and job.repeatable == '1' then
    redis.call('PEXPIRE', same, job.retention)
  else
    redis.call('DEL', same)
  end
end

-- Failures that lie in what was asked, and not in the one job that asked it.
local FOR_ALL = { error = true, poison = true, refused = true }

-- Ends a job for good, and with it those that follow it, or else has one of them take its place.
-- `fields` carry what its end brought: reason, answer, error, usage, timing.
local function finish(job, status, fields)
  close(job, status, fields)
  local heir
  if status == 'succeeded' or (status == 'failed' and FOR_ALL[fields.reason or 'error']) then
    each_follower(job, function(follower)
      dequeue(follower)
      share(follower, status, fields)
    end)
  else
    heir = promote(job)
  end
  reindex(job, status, heir)
end

-- A job is in a worker's hands only while it is processing under the worker's own fencing token.
local function held(id, fence)
  local job = read(id)
  if job and job.status == 'processing' and job.fence == fence then
    return job
  end
  return nil
end

-- Ends what its submitter wants no more; `reason` is why.
local function withdraw(job, reason)
  if job.status == 'queued' then
    dequeue(job)
    finish(job, 'canceled', { cancel_requested = whole(now), compute_stopped = whole(now), reason = reason })
  elseif job.status == 'processing' and not job.cancel_requested then
    write(job.id, { cancel_requested = whole(now), withdrawn = reason })
    order(job.id, 'cancel')
  end
end

local function why_withdrawn(job)
  return job.withdrawn or 'canceled'
end

-- Of a group that a job supersedes, the newest are looked at; and of these so many by one script, those that
-- follow them counted, as a script must not hold up the store.
local MOST_SUPERSEDED = 1000
local SUPERSEDED_AT_ONCE = 200

-- Withdraws jobs of a group, the newest before a number first. `left` is how many are to be looked at.
-- Returns where another call goes on: the number and how many are left then; or '' where nothing is left.
local function supersede(tenant, group, before, left)
  local touched = 0
  local ids = redis.call('ZREVRANGEBYSCORE', key('group', tenant, group), '(' .. before, '-inf', 'WITHSCORES',
    'LIMIT', 0, math.min(left, SUPERSEDED_AT_ONCE + 1))
  for i = 1, #ids, 2 do
    local weight = 1 + redis.call('ZCARD', key('followers', ids[i]))
    if touched > 0 and touched + weight > SUPERSEDED_AT_ONCE then
      return before .. ' ' .. left
    end
    local other = read(ids[i])
    if other then
      withdraw(other, 'superseded')
    end
    touched, left, before = touched + weight, left - 1, ids[i + 1]
  end
  return ''
end

-- Puts a job back unanswered, or ends it where it is not wanted any more.
local function give_back(job, outcome, charge, wait)
  let_go(job)
  local attempts = ended(job, outcome)
  if job.cancel_requested then
    finish(job, 'canceled', { attempts = attempts, compute_stopped = whole(now), reason = why_withdrawn(job) })
    return
  end
  write(job.id, { status = 'queued', attempts = attempts, tries = job.tries - 1 + charge })
  if wait > 0 then
    delay(job, whole(now + wait))
  else
    requeue(job)
  end
  announce(job, 'queued')
end

-- Has a job that was in a worker's hands when that broke down wait for a run alone, or ends it.
local function crash(job, outcome, most_crashes)
  let_go(job)
  if runs_suspects(job.worker, job.model) then
    redis.call('DEL', key('alone', job.model))
  end
  job.crashes = job.crashes + 1
  local fields = { attempts = ended(job, outcome), crashes = job.crashes }
  if job.cancel_requested then
    fields.reason = why_withdrawn(job)
    finish(job, 'canceled', fields)
  elseif job.crashes >= most_crashes then
    fields.reason = 'poison'
    finish(job, 'failed', fields)
  else
    fields.status = 'queued'
    write(job.id, fields)
    suspect(job)
    announce(job, 'queued')
  end
end

local DAY = 24 * 3600 * 1000

-- Keeps an index as long at least as what it leads to, which not each thing that comes is to put off.
local function outlive(index, life)
  if redis.call('PTTL', index) < life then
    redis.call('PEXPIRE', index, whole(life + DAY))
  end
end

-- Takes out of an index what it leads to no more; the oldest few are looked at, whenever one is added.
-- What follows the index is what the records' keys begin with.
local function trim(index, ...)
  for _, id in ipairs(redis.call('ZRANGE', index, 0, 19)) do
    local names = { ... }
    names[#names + 1] = id
    if redis.call('EXISTS', key(unpack(names))) == 0 then
      redis.call('ZREM', index, id)
    end
  end
end

-- An account of what a tenant's 'images' or 'files' take of the memory: by key the bytes of each, with their sum
-- under '', and by when each is to be looked at, as it goes by itself then.
local function account(kind, tenant)
  return key('sizes', kind, tenant), key('ends', kind, tenant)
end

-- What one counts for at least: its record and its places in indexes take memory, too.
local LEAST_BYTES = 512

-- Has a key be in the account with so many bytes, and as long as it is kept.
local function charge(kind, tenant, name, bytes, life)
  local sizes, ends = account(kind, tenant)
  local before = tonumber(redis.call('HGET', sizes, name) or 0)
  bytes = math.max(bytes, LEAST_BYTES)
  if bytes ~= before then
    redis.call('HSET', sizes, name, bytes)
    redis.call('HINCRBY', sizes, '', bytes - before)
  end
  redis.call('ZADD', ends, whole(now + life), name)
  outlive(sizes, life)
  outlive(ends, life)
end

local function discharge(kind, tenant, name)
  local sizes, ends = account(kind, tenant)
  local bytes = redis.call('HGET', sizes, name)
  if bytes then
    redis.call('HDEL', sizes, name)
    redis.call('ZREM', ends, name)
    redis.call('HINCRBY', sizes, '', -bytes)
  end
  if redis.call('EXISTS', ends) == 0 then
    redis.call('DEL', sizes)
  end
end

-- Returns how many bytes an account has, without what has gone by itself; of this a bounded number is looked at.
local function charged(kind, tenant)
  local sizes, ends = account(kind, tenant)
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', whole(now), 'LIMIT', 0, 500)) do
    local left = redis.call('PTTL', name)
    if left > 0 then
      -- An older program keeps it longer, and so must its account be.
      redis.call('ZADD', ends, whole(now + left), name)
      outlive(sizes, left)
      outlive(ends, left)
    else
      discharge(kind, tenant, name)
    end
  end
  return tonumber(redis.call('HGET', sizes, '') or 0)
end

-- Leaves nothing of a file. Callers spell its key and its index: workers run what is shared, and may see no files.
local function drop_file(tenant, id, file, files)
  for part = 0, tonumber(redis.call('HGET', file, 'parts') or 0) - 1 do
    redis.call('UNLINK', file .. ':' .. part)
  end
  redis.call('DEL', file)
  redis.call('ZREM', files, id)
  discharge('files', tenant, file)
end

-- Lets a picture go that no job shows: at once, or with the last upload that has it.
local function drop_picture(tenant, digest)
  local last = redis.call('ZREVRANGE', key('uploads', tenant, digest), 0, 0, 'WITHSCORES')
  local left = last[2] and last[2] - now or 0
  local image = key('image', tenant, digest)
  if left > 0 then
    redis.call('PEXPIRE', image, whole(left))
    redis.call('ZADD', select(2, account('images', tenant)), 'XX', whole(now + left), image)
  else
    redis.call('DEL', image)
    discharge('images', tenant, image)
  end
end

-- Counts who shows a job's pictures, and lets those go that nobody shows any more.
local function use_pictures(job, by)
  for digest in string.gmatch(job.pictures or '', '%S+') do
    if redis.call('HINCRBY', key('shown', job.tenant), digest, by) <= 0 then
      redis.call('HDEL', key('shown', job.tenant), digest)
      drop_picture(job.tenant, digest)
    end
  end
end

-- Keeps a picture for so long at least; `bytes` are what it is made of where it is not there yet.
local function keep_picture(tenant, digest, bytes, life)
  local image = key('image', tenant, digest)
  local left = redis.call('PTTL', image)
  if left == -2 then
    redis.call('SET', image, bytes, 'PX', whole(life))
  elseif left >= 0 and left < life then
    redis.call('PEXPIRE', image, whole(life))
  else
    return
  end
  charge('images', tenant, image, redis.call('STRLEN', image), life)
end

-- Returns what is to be told where more bytes of pictures would be more than a tenant may have; else nil.
local function too_many_images(tenant, more, most)
  if more <= 0 then
    return nil
  end
  local bytes = charged('images', tenant)
  return bytes + more > tonumber(most) and { 'images_full', most, whole(bytes) } or nil
end

-- The latest jobs that came with the same API key, the newest first.
local function asked_with(job)
  return key('jobs', job.tenant, job.key)
end

-- Notes the newest of a tenant's events that are gone: who has read up to there has missed nothing.
local function note_forgotten(tenant, event)
  local forgotten = key('forgotten', tenant)
  local function parts(id)
    local time, number = string.match(id, '(%d+)-(%d+)')
    return tonumber(time), tonumber(number)
  end
  local time, number = parts(event)
  local known_time, known_number = parts(redis.call('GET', forgotten) or '0-0')
  if time > known_time or (time == known_time and number > known_number) then
    redis.call('SET', forgotten, event, 'PX', 7 * 24 * 60 * MINUTE)
  end
end

-- Leaves nothing of a job that has ended, nor of pictures that no other job shows.
-- Last comes what must not happen twice, as a record that cannot be read to its end is looked at again.
local function forget(job)
  if job.status == 'failed' then
    redis.call('ZREM', failures(job.reason), job.id)
  end
  reindex(job)
  hush(job)
  redis.call('ZREM', key('jobs', job.tenant), job.id)
  redis.call('ZREM', with_status(job.tenant, job.status), job.id)
  if redis.call('EXISTS', key('jobs', job.tenant)) == 0 then
    -- Of what an older program forgot the index may still have something.
    for _, status in ipairs(STATUSES) do
      redis.call('DEL', with_status(job.tenant, status))
    end
  end
  if (job.key or '') ~= '' then
    redis.call('LREM', asked_with(job), -1, job.id)
  end
  if job.group ~= '' then
    redis.call('ZREM', key('group', job.tenant, job.group), job.id)
  end
  if job.idempotency and redis.call('HGET', key('idempotency', job.tenant, job.idempotency), 'job') == job.id then
    redis.call('DEL', key('idempotency', job.tenant, job.idempotency))
  end
  local events, newest = key('events', job.tenant), nil
  for event in string.gmatch(job.events or '', '%S+') do
    redis.call('XDEL', events, event)
    newest = event
  end
  if newest then
    note_forgotten(job.tenant, newest)
  end
  if redis.call('XLEN', events) == 0 then
    redis.call('DEL', events)
  end
  redis.call('ZREM', key('retained'), job.id)
  redis.call('DEL', key('job', job.id))
  use_pictures(job, -1)
end
