-- What every transition shares; prepended to each script.
--
-- KEYS[1] is the stem "prefix:{run}:". Every key begins with it, so all lie in one cluster slot.
--   run       hash  kind spec state priority created_ms finished_ms sealed open goals goals_done seq
--                   raises (of its budget), again, unfunded:run, unfunded:day: how many jobs are so marked
--   jobs      hash  id -> JSON of the job; fields that are zero or empty are left out
--   messages  hash  id -> JSON, as given            results  hash  id -> JSON, as given
--   waiters   hash  id -> lines "n<id>" (needs it) or "a<id>" (comes after it)
--   counts    hash  "stage|state" -> jobs           taken    hash  queue -> jobs queued or running
--   due       zset  id -> ms: a running job's lease, a queued one's deadline, a delayed one's time
--   ready:Q   zset  id -> order in which it became ready
--   since:Q   zset  id -> ms from which it waits for a worker, ready or queued
--   failed    hash  "stage|kind of reason" -> dead jobs, of at most FAILED_KINDS kinds
--   builds    hash  build of the code that finished them -> jobs done
--
-- A job: stage queue goal state attempts deaths hints token worker build error started_ms
--   finished_ms, and
--   failed    its field of the hash of that name, while it is dead
--   unfunded  'run' or 'day': the budget that kept it from asking its model, while it is done
--   again     it is done, and what it waited for will be done again: so will it be
--   pending   dependencies that are not settled     bad      needs that settled other than done
-- Both are exact in every state, so that skipping and resuming are local and need no recount.

local stem = KEYS[1]
local WINDOW, REPUBLISH_MS = tonumber(ARGV[1]), tonumber(ARGV[2])
local LEASE_MS, MAX_ATTEMPTS = tonumber(ARGV[3]), tonumber(ARGV[4])
local REPUBLISH_CAP_MS, SCAN_COUNT = 600000, 200

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local SETTLED = {done = true, dead = true, skipped = true, cancelled = true}
local TIMED = {queued = true, delayed = true, running = true}
local TAKEN = {queued = true, running = true}
local WAITS = {ready = true, queued = true}
local FAILED_KINDS = 50

local function field(name)
  return redis.call('HGET', stem .. 'run', name)
end

local function is_active()
  local state = field('state')
  return state == 'submitting' or state == 'running'
end

local function find(id)
  local text = redis.call('HGET', stem .. 'jobs', id)
  return text and cjson.decode(text)
end

local function save(id, job)
  redis.call('HSET', stem .. 'jobs', id, cjson.encode(job))
end

local function add(job, name, n)
  local sum = (job[name] or 0) + n
  job[name] = sum ~= 0 and sum or nil
end

-- Like reasons of dead jobs are one kind, however many symbols and times they name.
local function tally_failure(job, state)
  if job.failed then
    redis.call('HINCRBY', stem .. 'failed', job.failed, -1)
    job.failed = nil
  end
  if state == 'dead' then
    local kind = string.gsub(job.error or '', '%d%d%d%d+', '#')
    kind = string.gsub(kind, '%u[%u%d][%u%d][%u%d][%u%d]+', '*')
    if #kind > 120 then -- a character of several bytes is not cut in two
      kind = string.gsub(string.sub(kind, 1, 120), '[\192-\255][\128-\191]*$', '')
    end
    local name = job.stage .. '|' .. kind
    local known = redis.call('HEXISTS', stem .. 'failed', name) == 1
    if not known and redis.call('HLEN', stem .. 'failed') >= FAILED_KINDS then
      name = job.stage .. '|others'
    end
    redis.call('HINCRBY', stem .. 'failed', name, 1)
    job.failed = name
  end
end

-- The only place where a job's state changes: keeps every counter and index in step, and saves.
local function move(id, job, state, due_ms)
  local old = job.state
  if old then
    redis.call('HINCRBY', stem .. 'counts', job.stage .. '|' .. old, -1)
  end
  redis.call('HINCRBY', stem .. 'counts', job.stage .. '|' .. state, 1)
  if old == 'ready' then
    redis.call('ZREM', stem .. 'ready:' .. job.queue, id)
  end
  if state == 'ready' then
    local place = redis.call('HINCRBY', stem .. 'run', 'seq', 1)
    redis.call('ZADD', stem .. 'ready:' .. job.queue, place, id)
  end
  if TIMED[state] then
    redis.call('ZADD', stem .. 'due', due_ms, id)
  elseif old and TIMED[old] then
    redis.call('ZREM', stem .. 'due', id)
  end
  if WAITS[state] and not (old and WAITS[old]) then
    redis.call('ZADD', stem .. 'since:' .. job.queue, now, id)
  elseif old and WAITS[old] and not WAITS[state] then
    redis.call('ZREM', stem .. 'since:' .. job.queue, id)
  end
  tally_failure(job, state)
  local taken = (TAKEN[state] and 1 or 0) - (old and TAKEN[old] and 1 or 0)
  if taken ~= 0 then
    redis.call('HINCRBY', stem .. 'taken', job.queue, taken)
  end
  local open = (SETTLED[state] and 0 or 1) - (old and not SETTLED[old] and 1 or 0)
  if open ~= 0 then
    redis.call('HINCRBY', stem .. 'run', 'open', open)
  end
  if state == 'done' and job.goal then
    redis.call('HINCRBY', stem .. 'run', 'goals_done', 1)
  end
  job.state = state
  save(id, job)
end

-- Ready, unless something it depends on is open (again, after a resume).
local function release(id, job)
  move(id, job, job.pending and 'waiting' or 'ready')
end

local function waiters(id)
  return string.gmatch(redis.call('HGET', stem .. 'waiters', id) or '', '([na])([^\n]+)')
end

local function why_skipped(id, state, reason)
  return state == 'dead' and 'needs ' .. id .. ', which is dead: ' .. reason or reason
end

-- Settle a job; those that need it and cannot have it follow, those that waited are released.
local function settle(id, job, state, reason)
  local work, at = {{id, state, reason}}, 1
  while work[at] do
    id, state, reason = work[at][1], work[at][2], work[at][3]
    job = at == 1 and job or find(id)
    at = at + 1
    if not SETTLED[job.state] then
      job.error, job.finished_ms = reason, now
      move(id, job, state)
      for flag, waiter_id in waiters(id) do
        local waiter = find(waiter_id)
        add(waiter, 'pending', -1)
        if flag == 'n' and state ~= 'done' then
          add(waiter, 'bad', 1)
        end
        if waiter.state == 'waiting' and not waiter.bad and not waiter.pending then
          move(waiter_id, waiter, 'ready')
        else
          save(waiter_id, waiter)
        end
        if waiter.state == 'waiting' and waiter.bad then
          local follows = state == 'cancelled' and 'cancelled' or 'skipped'
          work[#work + 1] = {waiter_id, follows, why_skipped(id, state, reason)}
        end
      end
    end
  end
end

local function forget_attempts(job)
  job.attempts, job.deaths, job.hints, job.error, job.token = nil, nil, nil, nil, nil
  job.worker, job.started_ms, job.finished_ms = nil, nil, nil
end

-- The reverse of `settle` for a dead, skipped or cancelled job whose needs are all done or open;
-- those that were skipped because of it follow.
local function reopen(id)
  local work, at = {id}, 1
  while work[at] do
    id, at = work[at], at + 1
    local job = find(id)
    if SETTLED[job.state] and job.state ~= 'done' and not job.bad then
      forget_attempts(job)
      release(id, job)
      for flag, waiter_id in waiters(id) do
        local waiter = find(waiter_id)
        add(waiter, 'pending', 1)
        if flag == 'n' then
          add(waiter, 'bad', -1)
          work[#work + 1] = waiter_id
        end
        if waiter.state == 'ready' or waiter.state == 'queued' then
          move(waiter_id, waiter, 'waiting')
        else
          save(waiter_id, waiter)
        end
      end
    end
  end
end

-- Take back that a job is done, and that those are that waited for it, `most` in all; those beyond are
-- marked `again`. The run is not active. Answers how many.
local function undo(first, most)
  local work, at = {first}, 1
  while work[at] and at <= most do
    local id = work[at]
    local job = find(id)
    at = at + 1
    if job.again then
      redis.call('HINCRBY', stem .. 'run', 'again', -1)
    end
    if job.unfunded then
      redis.call('HINCRBY', stem .. 'run', 'unfunded:' .. job.unfunded, -1)
    end
    if job.build then
      redis.call('HINCRBY', stem .. 'builds', job.build, -1)
    end
    if job.goal then
      redis.call('HINCRBY', stem .. 'run', 'goals_done', -1)
    end
    redis.call('HDEL', stem .. 'results', id)
    job.again, job.unfunded, job.build = nil, nil, nil
    forget_attempts(job)
    release(id, job)
    for _, waiter_id in waiters(id) do
      local waiter = find(waiter_id)
      add(waiter, 'pending', 1)
      if waiter.state == 'done' and not waiter.again then
        waiter.again = true
        redis.call('HINCRBY', stem .. 'run', 'again', 1)
        work[#work + 1] = waiter_id
      end
      if waiter.state == 'ready' then
        move(waiter_id, waiter, 'waiting')
      else
        save(waiter_id, waiter)
      end
    end
  end
  return at - 1
end

-- Settle the run if it is sealed and nothing is open.
local function complete()
  if field('state') == 'running' and tonumber(field('open')) == 0 then
    local failed = tonumber(field('goals')) > 0 and tonumber(field('goals_done')) == 0
    redis.call('HSET', stem .. 'run', 'state', failed and 'failed' or 'done', 'finished_ms', now)
  end
end

-- Settle a job that may not be tried again as dead; whether it was so.
local function exhausted(id, job)
  if (job.attempts or 0) < MAX_ATTEMPTS then
    return false
  end
  local deaths = job.deaths or 0
  local reason = string.format('its worker died %d time%s', deaths, deaths == 1 and '' or 's')
  if job.error then
    reason = reason .. '; last error: ' .. job.error
  end
  settle(id, job, 'dead', reason)
  return true
end

-- The job if this token runs it, else nil.
local function held(id, token)
  local job = find(id)
  if job and job.state == 'running' and job.token == token and is_active() then
    return job
  end
end

-- Queue a job and note its hint; the grace doubles with each republication.
local function publish(id, job, hints)
  local grace_ms = math.min(REPUBLISH_MS * 2 ^ (job.hints or 0), REPUBLISH_CAP_MS)
  move(id, job, 'queued', now + math.floor(grace_ms))
  hints[#hints + 1] = id
  hints[#hints + 1] = job.stage
  hints[#hints + 1] = job.queue
  hints[#hints + 1] = redis.call('HGET', stem .. 'messages', id) or '{}'
end

-- Queue what is ready up to the window, and answer: priority, then id, stage, queue, message of each hint.
local function feed(hints)
  if is_active() then
    for _, queue in ipairs(redis.call('HKEYS', stem .. 'taken')) do
      local room = WINDOW - tonumber(redis.call('HGET', stem .. 'taken', queue))
      if room > 0 then
        for _, id in ipairs(redis.call('ZRANGE', stem .. 'ready:' .. queue, 0, room - 1)) do
          publish(id, find(id), hints)
        end
      end
    end
  end
  table.insert(hints, 1, field('priority') or '0')
  return hints
end
