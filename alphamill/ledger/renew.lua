-- Extend a lease. ARGV: id, token. Answers 1, or 0 if the token is stale or the run not active.
if not held(ARGV[5], ARGV[6]) then
  return 0
end
redis.call('ZADD', stem .. 'due', now + LEASE_MS, ARGV[5])
return 1
