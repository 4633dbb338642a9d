-- Takes one request out of those that a tenant may send in a minute, where one is left.
-- ARGV: now, tenant, the installation's requests per minute
-- Returns {1 or 0, requests per minute, requests left, ms until there is one, ms until all are there}

-- Not for the disk: what was spent may be forgotten with the store, and a poll must not wait for a sync.
redis.set_repl(redis.REPL_NONE)

-- GCRA: `restored` is when all will be there again, and each request puts it off by its share of the
-- minute. In whole microseconds, so that no sum of them is rounded.
local MINUTE = 60000000
local at = now * 1000
local per_minute = tonumber(redis.call('HGET', key('limits', ARGV[2]), 'requests_per_minute') or ARGV[3])
local share = math.floor(MINUTE / per_minute)
local rate = key('rate', ARGV[2])
local restored = math.max(tonumber(redis.call('GET', rate) or at), at)

local function milliseconds(microseconds)
  return math.ceil(microseconds / 1000)
end

-- A limit that was lowered may leave more spent than there is.
local wait = restored + share - MINUTE - at
if wait > 0 then
  return { 0, per_minute, 0, milliseconds(wait), milliseconds(restored - at) }
end
restored = restored + share
redis.call('SET', rate, whole(restored), 'PX', milliseconds(restored - at))
return { 1, per_minute, math.floor(-wait / share), 0, milliseconds(restored - at) }
