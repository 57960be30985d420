-- Count one call or one failure, in one step.
-- KEYS  1 the row's hash, 2 the run's rows (set), 3 all runs (set), 4 the run's counted calls (set)
-- ARGV  1 call id ('' for a failure, which is not deduplicated), 2 run, 3 row,
--       then field, increment pairs
-- Answers 1, or 0 if this call was counted before.

if ARGV[1] ~= '' and redis.call('SADD', KEYS[4], ARGV[1]) == 0 then return 0 end
redis.call('SADD', KEYS[2], ARGV[3])
redis.call('SADD', KEYS[3], ARGV[2])
for i = 4, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
end
return 1
