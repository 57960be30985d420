-- Take a job. ARGV: id, token, worker. Answers the job and its message, or nil.
local id, token, worker = ARGV[5], ARGV[6], ARGV[7]
local job = find(id)
if not job or SETTLED[job.state] or job.state == 'waiting' or not is_active() then
  return nil
end

if job.state == 'running' and job.token == token then -- the client repeats a call it saw fail
  return {redis.call('HGET', stem .. 'jobs', id), redis.call('HGET', stem .. 'messages', id)}
end
if job.state == 'running' or job.state == 'delayed' then
  if tonumber(redis.call('ZSCORE', stem .. 'due', id)) > now then
    return nil
  end
  if job.state == 'running' then
    add(job, 'deaths', 1)
  end
end
if exhausted(id, job) then
  complete()
  return nil
end
if job.pending then -- a resume reopened what it comes after
  release(id, job)
  return nil
end
local taken = tonumber(redis.call('HGET', stem .. 'taken', job.queue))
if not TAKEN[job.state] and taken >= WINDOW then
  return nil
end

add(job, 'attempts', 1)
job.token, job.worker, job.started_ms, job.hints = token, worker, now, nil
move(id, job, 'running', now + LEASE_MS)
return {redis.call('HGET', stem .. 'jobs', id), redis.call('HGET', stem .. 'messages', id)}
