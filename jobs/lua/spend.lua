-- Takes one request out of those that a tenant may send in a minute, where one is left.
-- ARGV: now, tenant, the installation's requests per minute
-- Returns what `spend` does.
return spend(ARGV[2], ARGV[3])
