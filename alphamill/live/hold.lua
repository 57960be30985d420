-- Takes, renews or lets go of a lease.
-- KEYS[1] the lease. ARGV[1] the caller's token; ARGV[2] milliseconds, 0 to let go; ARGV[3] who.
-- Returns 1 if the caller holds it afterwards, else 0.
local token = redis.call('HGET', KEYS[1], 'token')
if token and token ~= ARGV[1] then
  return 0
end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
  return 0
end
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'who', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
