-- Money and replies of one run, changed together. Amounts are integer micro-dollars.
-- KEYS: run account, day account, attempts, open, answers, records, texts
-- attempts: attempt -> "status|micros|day"; status: open, unknown, settled, duplicate, failed
-- open: call -> its attempt under way; answers: call -> the attempt whose reply counts
-- ARGV: op, call, attempt, then what the op needs (see below)
local run, today, attempts, open, answers, records, texts = unpack(KEYS)
local op, call, attempt = ARGV[1], ARGV[2], ARGV[3]

local function whole(number) return string.format('%.0f', number + 0) end -- + 0: no "-0"

local function now_ms()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

local function load(id)
  local found = redis.call('HGET', attempts, id)
  if not found then return nil end
  local status, micros, day = string.match(found, '^(%a+)|(%d+)|(.+)$')
  return {status = status, micros = tonumber(micros), day = day}
end

local function mark(id, a, status)
  a.status = status
  redis.call('HSET', attempts, id, status .. '|' .. whole(a.micros) .. '|' .. a.day)
end

-- A reservation is charged to the day on which it was made, whose account may be another than today's;
-- its key is built here, which one server (no cluster) allows.
local function add(a, field, by)
  redis.call('HINCRBY', run, field, whole(by))
  redis.call('HINCRBY', string.sub(today, 1, -11) .. a.day, field, whole(by))
end

local function withdraw(a)
  if a.status == 'open' then add(a, 'reserved', -a.micros)
  elseif a.status == 'unknown' then add(a, 'unknown', -a.micros); add(a, 'unknown_calls', -1) end
end

local function close(id)
  if redis.call('HGET', open, call) == id then redis.call('HDEL', open, call) end
end

local function lose(id, a)
  withdraw(a)
  add(a, 'unknown', a.micros)
  add(a, 'unknown_calls', 1)
  mark(id, a, 'unknown')
end

local function fit(key, micros, cap, now)
  local h = redis.call('HMGET', key, 'spent', 'reserved', 'unknown', 'held_until_ms')
  local gone = tonumber(h[1] or '0') + tonumber(h[3] or '0')
  local left = cap - gone - tonumber(h[2] or '0')
  if micros <= left then return 'fits', left end
  if gone + micros <= cap and now < tonumber(h[4] or '0') then return 'held', left end
  return 'exhausted', left
end

-- look: what answers the call, '' if nothing does, and both accounts
if op == 'look' then
  local answer = redis.call('HGET', answers, call)
  return {answer and redis.call('HGET', records, answer) or '', redis.call('HGETALL', run), redis.call('HGETALL', today)}
end

-- check: what `reserve` would answer, with the same arguments; changes nothing but for a note
-- reserve: micros, day, run_cap, day_cap, hold_ms, record, then pairs of digest and text ('' if it is there)
if op == 'reserve' or op == 'check' then
  local answer = redis.call('HGET', answers, call)
  if answer then return {'answered', redis.call('HGET', records, answer)} end
  if load(attempt) then return {'fits'} end
  local before = redis.call('HGET', open, call)
  if before and op == 'reserve' then lose(before, load(before)); redis.call('HDEL', open, call) end
  local a = {micros = tonumber(ARGV[4]), day = ARGV[5]}
  local now = now_ms()
  for _, account in ipairs({{run, tonumber(ARGV[6]), 'run'}, {today, tonumber(ARGV[7]), 'day'}}) do
    local verdict, left = fit(account[1], a.micros, account[2], now)
    if verdict == 'exhausted' then -- for people; the run's says that it was stopped, whoever did it
      redis.call('HSET', run, 'exhausted_ms', whole(now))
      redis.call('HSET', account[1], 'exhausted_ms', whole(now))
    end
    if verdict ~= 'fits' then return {verdict, account[3], whole(account[2]), whole(left)} end
  end
  if op == 'check' then return {'fits'} end
  add(a, 'reserved', a.micros)
  mark(attempt, a, 'open')
  redis.call('HSET', open, call, attempt)
  redis.call('HSET', records, attempt, ARGV[9])
  local till = whole(now + tonumber(ARGV[8]))
  redis.call('HSET', run, 'cap', ARGV[6], 'held_until_ms', till)
  redis.call('HSET', today, 'cap', ARGV[7], 'held_until_ms', till)
  for i = 10, #ARGV, 2 do
    if ARGV[i + 1] ~= '' then redis.call('HSETNX', texts, ARGV[i], ARGV[i + 1]) end
  end
  return {'fits'}
end

local a = load(attempt)
if not a then return {'absent'} end

-- settle: actual, record. Answers the record that counts, '' if it is this one
if op == 'settle' then
  if a.status ~= 'settled' and a.status ~= 'duplicate' then
    local actual = tonumber(ARGV[4])
    withdraw(a)
    add(a, 'spent', actual)
    add(a, 'settled_calls', 1)
    if actual > a.micros then add(a, 'overruns', 1) end
    redis.call('HSET', records, attempt, ARGV[5])
    mark(attempt, a, redis.call('HSETNX', answers, call, attempt) == 1 and 'settled' or 'duplicate')
    close(attempt)
  end
  if a.status == 'settled' then return {a.status, ''} end
  return {a.status, redis.call('HGET', records, redis.call('HGET', answers, call))}
end

if a.status ~= 'open' and a.status ~= 'unknown' then return {a.status} end

-- cancel: nothing was sent, so nothing is remembered
if op == 'cancel' then
  withdraw(a)
  close(attempt)
  redis.call('HDEL', attempts, attempt)
  redis.call('HDEL', records, attempt)
  return {'cancelled'}
end

redis.call('HSET', records, attempt, ARGV[4])

-- release: record. Refused and certainly not billed
if op == 'release' then
  withdraw(a)
  mark(attempt, a, 'failed')
-- lose: record. It may have been billed
elseif op == 'lose' then
  lose(attempt, a)
else
  return redis.error_reply('unknown op ' .. op)
end
close(attempt)
return {a.status}
