-- Moves a batch on to the state that comes next, where all that this needs is so.
-- ARGV: now, batch, 'valid' | 'invalid' | 'settled', number of its lines, what is wrong as JSON
-- Returns its status.
local id, word = ARGV[2], ARGV[3]
local record = key('batch', id)

local function field(name)
  return redis.call('HGET', record, name)
end

local status = field('status')
if not status then
  return ''
end

local function become(next)
  status = next
  redis.call('HSET', record, 'status', next, next, whole(now))
end

-- The end of a batch: its files may be erased from now on, and what it wrote is kept as long as itself.
local function close(last)
  become(last)
  local tenant, keep = field('tenant'), tonumber(field('keep'))
  for _, name in ipairs({ 'input', 'output', 'errors' }) do
    local file = key('file', tenant, field(name))
    local parts = tonumber(redis.call('HGET', file, 'parts'))
    if parts then
      redis.call('HINCRBY', file, 'needed', -1)
    end
    if parts and name ~= 'input' then
      redis.call('HSET', file, 'expires', whole(now + keep))
      redis.call('PEXPIRE', file, whole(keep))
      for part = 0, parts - 1 do
        redis.call('PEXPIRE', key('file', tenant, field(name), part), whole(keep))
      end
      charge('files', tenant, file, tonumber(redis.call('HGET', file, 'bytes')), keep)
      outlive(key('files', tenant), keep)
    end
  end
  if redis.call('HINCRBY', key('open-batches'), tenant, -1) == 0 then
    redis.call('HDEL', key('open-batches'), tenant)
  end
  redis.call('ZREM', key('batch-turns'), id)
  redis.call('DEL', key('batch-jobs', id), key('batch-ended', id))
  redis.call('PEXPIRE', record, whole(keep))
  outlive(key('batches', tenant), keep)
end

local function is_all_written()
  local total = field('total')
  return not total or tonumber(field('done') or 0) + tonumber(field('bad') or 0) == tonumber(total)
end

if word == 'valid' then
  if status == 'validating' then
    redis.call('HSET', record, 'total', ARGV[4])
    become('in_progress')
  end
elseif word == 'invalid' then
  if status == 'validating' or status == 'in_progress' or status == 'cancelling' or status == 'finalizing' then
    redis.call('HSET', record, 'problems', ARGV[5])
    local out = redis.call('HKEYS', key('batch-jobs', id))
    close('failed')
    -- Nobody would read their answers.
    for _, job_id in ipairs(out) do
      local job = read(job_id)
      if job then
        withdraw(job, 'canceled')
      end
    end
  end
elseif is_all_written() then
  if status == 'in_progress' then
    become('finalizing')
  elseif status == 'finalizing' then
    close(field('stopping') or 'completed')
  elseif status == 'cancelling' then
    close('cancelled')
  end
end
return status
