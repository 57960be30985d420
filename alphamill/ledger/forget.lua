-- Delete a settled run. Answers its state, or nil if there is no such run; an active one stays.
local state = field('state')
if state and not is_active() then
  for _, queue in ipairs(redis.call('HKEYS', stem .. 'taken')) do
    redis.call('UNLINK', stem .. 'ready:' .. queue, stem .. 'since:' .. queue)
  end
  for _, name in ipairs({'run', 'jobs', 'messages', 'results', 'waiters', 'counts', 'taken', 'due', 'failed', 'builds'}) do
    redis.call('UNLINK', stem .. name)
  end
end
return state
