-- Takes one request out of those that a tenant may send in a minute, where one is left.
-- ARGV: now, tenant, the installation's requests per minute; or now, '', that, id of a key, digest of its secret
-- Returns {1 or 0, requests per minute, requests left, ms until there is one, ms until all are there};
-- of a key {record, that or {} where it is not good}

-- Not for the disk: what was spent may be forgotten with the store, and a poll must not wait for a sync.
redis.set_repl(redis.REPL_NONE)

local MINUTE_US = 60000000

local function milliseconds(microseconds)
  return math.ceil(microseconds / 1000)
end

-- GCRA: `restored` is when all will be there again, and each request puts it off by its share of the
-- minute. In whole microseconds, so that no sum of them is rounded.
local function spend(tenant)
  local at = now * 1000
  local per_minute = tonumber(redis.call('HGET', key('limits', tenant), 'requests_per_minute') or ARGV[3])
  local share = math.floor(MINUTE_US / per_minute)
  local rate = key('rate', tenant)
  local restored = math.max(tonumber(redis.call('GET', rate) or at), at)
  -- Nobody has spent more than a minute's, except by a clock that has gone back since.
  if restored > at + MINUTE_US then
    restored = at
  end
  -- A limit that was lowered may leave more spent than there is.
  local wait = restored + share - MINUTE_US - at
  if wait > 0 then
    return { 0, per_minute, 0, milliseconds(wait), milliseconds(restored - at) }
  end
  restored = restored + share
  -- What expires is written to the disk as deleted: seldom, and not before each of a few requests.
  redis.call('SET', rate, whole(restored), 'PX', HOUR)
  return { 1, per_minute, math.floor(-wait / share), 0, milliseconds(restored - at) }
end

if ARGV[2] ~= '' then
  return spend(ARGV[2])
end

local flat = redis.call('HGETALL', key('key', ARGV[4]))
local record = fields_of(flat)
local seconds, digest = now / 1000, ARGV[5]
local is_previous = record.previous_digest == digest and seconds < tonumber(record.previous_until)
local has_expired = (record.expires or '') ~= '' and seconds >= tonumber(record.expires)
if has_expired or (record.digest ~= digest and not is_previous) then
  return { flat, {} }
end
return { flat, spend(record.tenant) }
