-- Act on jobs whose time has come. ARGV: limit. Answers hints.
if not is_active() then
  return {'0'}
end
local hints = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', stem .. 'due', '-inf', now, 'LIMIT', 0, ARGV[5])) do
  local job = find(id)
  if job.state == 'delayed' then
    release(id, job)
  elseif job.state == 'queued' then
    add(job, 'hints', 1)
    publish(id, job, hints)
  elseif job.state == 'running' then
    add(job, 'deaths', 1)
    if not exhausted(id, job) then
      -- Back to `queued` with a deadline, not a longer lease: a lease is what `claim` tests.
      if job.pending then release(id, job) else publish(id, job, hints) end
    end
  end
end
complete()
return feed(hints)
