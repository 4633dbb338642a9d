-- Stops a job: at once where it waits; through its worker where it runs.
-- ARGV: now, id, tenant
-- Returns 1, or 0 where the tenant has no such job.
local job = read(ARGV[2])
if not job or job.tenant ~= ARGV[3] then
  return 0
end
withdraw(job, 'canceled')
return 1
