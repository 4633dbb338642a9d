-- Forgets a model that nobody has served or asked for a long time.
-- ARGV: now, model, ms since its last claim
-- Returns 1, or 0 where it is in use.
local model = ARGV[2]
local claimed = redis.call('HGET', key('claimed'), model)
local is_used = not claimed or now - claimed < tonumber(ARGV[3])
  or redis.call('ZCOUNT', key('workers', model), '(' .. whole(now), '+inf') > 0
for _, count in ipairs(redis.call('HVALS', key('queued', model))) do
  is_used = is_used or tonumber(count) > 0
end
if is_used then
  return 0
end
redis.call('SREM', key('models'), model)
redis.call('HDEL', key('claimed'), model)
redis.call('DEL', key('credits', model), key('queued', model), key('pace', model), key('workers', model))
for _, class in ipairs(CLASSES) do
  redis.call('HDEL', key('turn'), model .. ':' .. class)
end
for _, name in ipairs(redis.call('HKEYS', key('ended'))) do
  if string.sub(name, -#model - 1) == ':' .. model then
    redis.call('HDEL', key('ended'), name)
  end
end
return 1
