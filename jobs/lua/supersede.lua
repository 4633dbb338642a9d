-- Goes on with withdrawing what the group of a job that supersedes it asked before.
-- ARGV: now, id
-- Returns 1 where there is more to withdraw, else 0.
local job = read(ARGV[2])
local before, left = string.match(job and job.superseding or '', '^(%S+) (%d+)$')
if not before then
  return 0
end
local rest = supersede(job.tenant, job.group, before, tonumber(left))
write(job.id, { superseding = rest })
return rest ~= '' and 1 or 0
