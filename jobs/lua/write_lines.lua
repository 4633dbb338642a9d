-- Writes lines into the files of a batch, each once: that of a job together with the end of the job itself,
-- of which nothing else stays, and those of no job together with the place in the input that they are for.
-- ARGV: now, batch, line after which the batch's input was read or '', line up to which it is read,
--       offset there, bytes of a file's part, then for each line: job or '', output or errors, text
-- Returns how many were written.
local id, most = ARGV[2], tonumber(ARGV[6])
local record = key('batch', id)
local told = redis.call('HMGET', record, 'tenant', 'output', 'errors', 'line', 'expires', 'keep')
if not told[1] then
  return 0
end
local tenant, ids = told[1], { output = told[2], errors = told[3] }
local life = math.max(tonumber(told[5]) - now, 0) + told[6]
local names = { output = 'output', errors = 'error' }

local function append(kind, text)
  local file_id = ids[kind]
  local file = key('file', tenant, file_id)
  local parts = tonumber(redis.call('HGET', file, 'parts'))
  if not parts then
    redis.call('HSET', file, 'id', file_id, 'purpose', 'batch_output', 'bytes', 0, 'parts', 1, 'needed', 1,
      'name', id .. '_' .. names[kind] .. '.jsonl', 'created', whole(now), 'expires', whole(now + life))
    redis.call('PEXPIRE', file, whole(life))
    redis.call('ZADD', key('files', tenant), redis.call('INCR', key('seq')), file_id)
    parts = 1
  end
  local part = key('file', tenant, file_id, parts - 1)
  if redis.call('STRLEN', part) + #text > most and redis.call('EXISTS', part) == 1 then
    redis.call('HINCRBY', file, 'parts', 1)
    part = key('file', tenant, file_id, parts)
  end
  redis.call('APPEND', part, text)
  redis.call('PEXPIRE', part, whole(life))
  redis.call('HINCRBY', file, 'bytes', #text)
  redis.call('HINCRBY', record, kind == 'output' and 'done' or 'bad', 1)
end

local function spent(job)
  local usage = cjson.decode(job.usage or '{}')
  for _, name in ipairs({ 'prompt_tokens', 'cached_tokens', 'completion_tokens' }) do
    redis.call('HINCRBY', record, name, usage[name] or 0)
  end
end

local function let_job_go(job, kind)
  if kind == 'output' then
    spent(job)
  end
  forget(job)
end

local is_here = ARGV[3] == told[4]
local written = 0
for i = 7, #ARGV, 3 do
  local kind, job = ARGV[i + 1], ARGV[i] ~= '' and read(ARGV[i])
  local is_due = is_here
  if ARGV[i] ~= '' then
    redis.call('LREM', key('batch-ended', id), 1, ARGV[i])
    is_due = (not job or job.finished) and redis.call('HDEL', key('batch-jobs', id), ARGV[i]) == 1
  end
  if is_due then
    append(kind, ARGV[i + 2])
    written = written + 1
    if job then
      let_job_go(job, kind)
    end
  end
end
if is_here then
  redis.call('HSET', record, 'line', ARGV[4], 'offset', ARGV[5])
end
for _, file_id in pairs(ids) do
  local file = key('file', tenant, file_id)
  local bytes = written > 0 and redis.call('HGET', file, 'bytes')
  if bytes then
    charge('files', tenant, file, tonumber(bytes), life)
    outlive(key('files', tenant), life)
  end
end
return written
