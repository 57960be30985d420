-- A job is done. ARGV: id, token, result, build, the budget that kept it from asking or ''. Answers
-- hints, or nil if the token is stale.
local id, token = ARGV[5], ARGV[6]
local job = held(id, token)
if not job then
  local settled = find(id)
  -- The client repeats a call whose answer it did not see: the first one counted.
  return settled and settled.state == 'done' and settled.token == token and {'0'} or nil
end
redis.call('HSET', stem .. 'results', id, ARGV[7])
if ARGV[8] ~= '' then
  job.build = ARGV[8]
  redis.call('HINCRBY', stem .. 'builds', job.build, 1)
end
if ARGV[9] ~= '' then
  job.unfunded = ARGV[9]
  redis.call('HINCRBY', stem .. 'run', 'unfunded:' .. job.unfunded, 1)
end
settle(id, job, 'done')
complete()
return feed({})
