-- Add a batch of jobs, all or nothing. ARGV: JSON list of {id, stage, queue, goal, message, needs,
-- after}, the message as text. Answers 'ok', or what is wrong and its details.
local state = field('state')
if not state then
  return {'no run'}
end

local fresh, known = {}, {}
for _, spec in ipairs(cjson.decode(ARGV[5])) do
  if not known[spec.id] and redis.call('HEXISTS', stem .. 'jobs', spec.id) == 0 then
    for _, list in ipairs({spec.needs, spec.after}) do
      for _, other in ipairs(list) do
        if not known[other] and redis.call('HEXISTS', stem .. 'jobs', other) == 0 then
          return {'unknown', spec.id, other}
        end
      end
    end
    known[spec.id] = true
    fresh[#fresh + 1] = spec
  end
end
if #fresh > 0 and state ~= 'cancelled' and not is_active() then
  return {'settled', state}
end

local lines = {}
local function depend(job, id, flag, other_id)
  local other = find(other_id)
  if not SETTLED[other.state] then
    add(job, 'pending', 1)
  elseif flag == 'n' and other.state ~= 'done' then
    add(job, 'bad', 1)
    job.error = why_skipped(other_id, other.state, other.error or '')
  end
  lines[other_id] = lines[other_id] or {}
  table.insert(lines[other_id], flag .. id .. '\n')
end

for _, spec in ipairs(fresh) do
  local job = {stage = spec.stage, queue = spec.queue, goal = spec.goal or nil}
  for _, other_id in ipairs(spec.needs) do depend(job, spec.id, 'n', other_id) end
  for _, other_id in ipairs(spec.after) do depend(job, spec.id, 'a', other_id) end
  redis.call('HSET', stem .. 'messages', spec.id, spec.message)
  redis.call('HINCRBY', stem .. 'taken', spec.queue, 0) -- makes the queue known to feed
  redis.call('HINCRBY', stem .. 'run', 'goals', spec.goal and 1 or 0)
  if state == 'cancelled' then
    job.error, job.finished_ms = 'the run was cancelled', now
    move(spec.id, job, 'cancelled')
  elseif job.bad then
    job.finished_ms = now
    move(spec.id, job, 'skipped')
  else
    release(spec.id, job)
  end
end
for other_id, added in pairs(lines) do
  local before = redis.call('HGET', stem .. 'waiters', other_id) or ''
  redis.call('HSET', stem .. 'waiters', other_id, before .. table.concat(added))
end
return {'ok'}
