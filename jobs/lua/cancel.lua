-- Stops jobs: at once those that wait; through their workers those that run.
-- ARGV: now, tenant, then their ids
-- Returns how many of them the tenant has.
local found = 0
for i = 3, #ARGV do
  local job = read(ARGV[i])
  if job and job.tenant == ARGV[2] then
    withdraw(job, 'canceled')
    found = found + 1
  end
end
return found
