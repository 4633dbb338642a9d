-- Keeps a picture for a while, in which it may be uploaded or a job may show it.
-- ARGV: now, tenant, digest, its bytes, ms for which it is kept at least, most bytes of a tenant's pictures
-- Returns {'kept'} | {'full'} | {'images_full', most bytes, bytes that are kept}
local tenant, digest = ARGV[2], ARGV[3]
if redis.call('EXISTS', key('full')) == 1 then
  return { 'full' }
end
local is_new = redis.call('EXISTS', key('image', tenant, digest)) == 0
local own = redis.call('HGET', key('limits', tenant), 'image_bytes')
local too_many = too_many_images(tenant, is_new and #ARGV[4] or 0, own or ARGV[6])
if too_many then
  return too_many
end
keep_picture(tenant, digest, ARGV[4], tonumber(ARGV[5]))
return { 'kept' }
