-- Submission is complete. Answers 0 if there is no such run.
local state = field('state')
if not state then
  return 0
end
redis.call('HSET', stem .. 'run', 'sealed', 1)
if state == 'submitting' then
  redis.call('HSET', stem .. 'run', 'state', 'running')
  complete()
end
return 1
