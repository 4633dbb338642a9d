-- Gives a stored picture an id, by which jobs may name it for a while.
-- ARGV: now, tenant, id, digest, width, height, ms for which it is kept
-- Returns when it expires, or 0 where the picture is not stored.
local tenant, id, digest, life = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[7])
local image, upload, uploads = key('image', tenant, digest), key('upload', tenant, id), key('uploads', tenant, digest)
if redis.call('EXISTS', image) == 0 then
  return 0
end
local expires = whole(now + life)
redis.call('HSET', upload, 'digest', digest, 'width', ARGV[5], 'height', ARGV[6], 'expires', expires)
redis.call('ZREMRANGEBYSCORE', uploads, '-inf', whole(now))
redis.call('ZADD', uploads, expires, id)
for _, kept in ipairs({ image, upload, uploads }) do
  if redis.call('PTTL', kept) < life then
    redis.call('PEXPIRE', kept, life)
  end
end
return tonumber(expires)
