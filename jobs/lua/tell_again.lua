-- Has the end of a job be told once more, or at once where it is to be told already.
-- ARGV: now, id, tenant
-- Returns 'ok' | 'no_job' | 'no_webhook' | 'open' | 'disabled'
local job = read(ARGV[2])
if not job or job.tenant ~= ARGV[3] then
  return 'no_job'
end
if (job.webhook or '') == '' then
  return 'no_webhook'
end
if not job.finished then
  return 'open'
end
local webhook = cjson.decode(job.webhook)
if redis.call('ZSCORE', key('sending', webhook.host), job.id) then
  return 'ok'
end
tell(job, webhook)
return is_gone(job.tenant, webhook.url) and 'disabled' or 'ok'
