-- Gives a stored picture an id, by which jobs may name it for a while.
-- ARGV: now, tenant, id, digest, width, height, ms for which it is kept, most bytes of a tenant's pictures
-- Returns {'added', when it expires} | {'image_missing'} | {'images_full', most bytes, bytes that are kept}
local tenant, id, digest, life = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[7])
local upload, uploads = key('upload', tenant, id), key('uploads', tenant, digest)
if redis.call('EXISTS', key('image', tenant, digest)) == 0 then
  return { 'image_missing' }
end
local expires = redis.call('HGET', upload, 'expires')
-- The client sends a command again whose reply it did not hear.
if expires then
  return { 'added', expires }
end
local own = redis.call('HGET', key('limits', tenant), 'image_bytes')
local too_many = too_many_images(tenant, LEAST_BYTES, own or ARGV[8])
if too_many then
  return too_many
end
expires = whole(now + life)
redis.call('HSET', upload, 'digest', digest, 'width', ARGV[5], 'height', ARGV[6], 'expires', expires)
redis.call('PEXPIRE', upload, life)
charge('images', tenant, upload, 0, life)
redis.call('ZREMRANGEBYSCORE', uploads, '-inf', whole(now))
redis.call('ZADD', uploads, expires, id)
if redis.call('PTTL', uploads) < life then
  redis.call('PEXPIRE', uploads, life)
end
keep_picture(tenant, digest, '', life)
return { 'added', expires }
