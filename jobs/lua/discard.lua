-- Leaves nothing of an upload, nor of its picture where no job shows it.
-- ARGV: now, tenant, id
-- Returns 1, or 0 where the tenant has no such upload.
local tenant, id = ARGV[2], ARGV[3]
local digest = redis.call('HGET', key('upload', tenant, id), 'digest')
if not digest then
  return 0
end
redis.call('DEL', key('upload', tenant, id))
discharge('images', tenant, key('upload', tenant, id))
redis.call('ZREM', key('uploads', tenant, digest), id)
if redis.call('HEXISTS', key('shown', tenant), digest) == 0 then
  drop_picture(tenant, digest)
end
return 1
