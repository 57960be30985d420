-- Try a job again later. ARGV: id, token, reason, after_ms, counts (1 or 0). Answers hints.
local id, reason, after_ms, counts = ARGV[5], ARGV[7], tonumber(ARGV[8]), ARGV[9] == '1'
local job = held(id, ARGV[6])
if not job then
  return {'0'}
end
if counts and job.attempts >= MAX_ATTEMPTS then
  settle(id, job, 'dead', reason)
  complete()
  return feed({})
end
if not counts then
  add(job, 'attempts', -1)
end
job.error = reason
if after_ms > 0 then
  move(id, job, 'delayed', now + after_ms)
else
  release(id, job)
end
return feed({})
