-- Finds a tenant's jobs, newest first.
-- ARGV: now, tenant, group or '', status or '', number below which to look or '', most to return,
--       most to look at
-- Returns {number below which the next call has to look, or '', record, record ...}
local tenant, group, status, most = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[6])
local most_examined = tonumber(ARGV[7])
local all = key('jobs', tenant)

-- An older program changes and forgets jobs and keeps no index of it, so each is held to its record.
-- Returns its status; false where it is not there any more.
local function mend(id, seq, listed_as)
  local status_now = redis.call('HGET', key('job', id), 'status')
  local is_listed = status_now == listed_as
  if status_now and not listed_as then
    is_listed = redis.call('ZSCORE', with_status(tenant, status_now), id)
  end
  if is_listed then
    return status_now
  end
  for _, other in ipairs(STATUSES) do
    redis.call('ZREM', with_status(tenant, other), id)
  end
  if status_now then
    redis.call('ZADD', with_status(tenant, status_now), seq, id)
  end
  return status_now
end

-- What has moved on unheard is the oldest in the state that it has left.
local function mend_oldest(open)
  repeat
    local first = redis.call('ZRANGE', with_status(tenant, open), 0, 0, 'WITHSCORES')
    most_examined = most_examined - 1
  until not first[1] or most_examined <= 0 or mend(first[1], first[2], open) == open
end

local function has_all()
  local count = 0
  for _, each in ipairs(STATUSES) do
    count = count + redis.call('ZCARD', with_status(tenant, each))
  end
  return count >= redis.call('ZCARD', all)
end

local index, listed_as, to_read = all, nil, most
if group ~= '' then
  index = key('group', tenant, group)
elseif status ~= '' then
  mend_oldest('queued')
  mend_oldest('processing')
  if has_all() then
    index, listed_as = with_status(tenant, status), status
  end
end
if status ~= '' and not listed_as then
  to_read = math.max(most, most_examined)
end

local function passes(id, seq)
  if status == '' then
    return true
  elseif group ~= '' then
    return redis.call('HGET', key('job', id), 'status') == status
  end
  return mend(id, seq, listed_as) == status
end

local below = ARGV[5] ~= '' and '(' .. ARGV[5] or '+inf'
local found = redis.call('ZREVRANGEBYSCORE', index, below, '-inf', 'WITHSCORES', 'LIMIT', 0, to_read + 1)
local reply = { '' }
for i = 1, #found, 2 do
  if #reply > most or (i + 1) / 2 > to_read then
    reply[1] = found[i - 1]
    break
  end
  if passes(found[i], found[i + 1]) then
    reply[#reply + 1] = redis.call('HGETALL', key('job', found[i]))
  end
end
return reply
