-- Whether a model's endpoint is worth a call. One hash a circuit; times in ms on the server's clock.
-- KEYS: the circuits that a call goes through
-- ARGV: op, then what the op needs (see below)
-- fields: failures (in a row), trips, open_until, probe_until, down_since, alive, limited (since when it
-- refuses by rate), trouble and said (why it is open)
local op = ARGV[1]
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local KEPT_MS = 86400000

local function read(key)
  local h = redis.call('HMGET', key, 'failures', 'trips', 'open_until', 'probe_until', 'down_since', 'alive')
  local c = {}
  for i, name in ipairs({'failures', 'trips', 'open_until', 'probe_until', 'down_since', 'alive'}) do
    c[name] = tonumber(h[i] or '0')
  end
  return c
end

-- look, enter: probe_ms. Answers {wait_ms, down_for_ms, trouble, said}; wait 0 means: call, and say how it
-- went. While one tries an open circuit, the others wait without a trouble. To look sends nobody
if op == 'look' or op == 'enter' then
  local wait, down, trouble, said = 0, 0, '', ''
  local probed = {}
  for _, key in ipairs(KEYS) do
    local c = read(key)
    if c.trips > 0 then
      local till = math.max(c.open_until, c.probe_until)
      if till > now then
        if till - now > wait then
          wait = till - now
          trouble, said = '', ''
          if c.open_until > now then
            trouble = redis.call('HGET', key, 'trouble') or ''
            said = redis.call('HGET', key, 'said') or ''
          end
        end
        down = math.max(down, now - c.down_since)
      else
        probed[#probed + 1] = key
      end
    end
  end
  if wait == 0 and op == 'enter' then
    for _, key in ipairs(probed) do redis.call('HSET', key, 'probe_until', now + tonumber(ARGV[2])) end
  end
  return {wait, down, trouble, said}
end

-- alive: it answered, whatever it said
if op == 'alive' then
  for _, key in ipairs(KEYS) do
    redis.call('DEL', key)
    redis.call('HSET', key, 'alive', now)
    redis.call('PEXPIRE', key, KEPT_MS)
  end
  return {0, 0}
end

-- limited: a sign of life, but a refusal by rate. Answers for how long it has, without an answer in between
if op == 'limited' then
  local since = tonumber(redis.call('HGET', KEYS[2], 'limited') or now)
  for _, key in ipairs(KEYS) do
    redis.call('DEL', key)
    redis.call('HSET', key, 'alive', now)
    redis.call('PEXPIRE', key, KEPT_MS)
  end
  redis.call('HSET', KEYS[2], 'limited', since)
  return {now - since, 0}
end

-- failed: took_ms, in_a_row, first_ms, most_ms, trouble, said. A call that began before a sign of life is one failure of many
-- KEYS[1] is the circuit that failed; if the call was a probe of the other, that one may be tried again.
-- KEYS[3] lists the circuits that have opened, for people
local began = now - tonumber(ARGV[2])
if redis.call('HEXISTS', KEYS[2], 'probe_until') == 1 then redis.call('HSET', KEYS[2], 'probe_until', 0) end
local key = KEYS[1]
local c = read(key)
if c.open_until <= now then
  c.failures = c.failures + 1
  if c.trips > 0 or (tonumber(ARGV[3]) <= 1 and c.alive < began) or c.failures >= math.max(2, tonumber(ARGV[3])) then
    c.trips = c.trips + 1
    local for_ms = math.min(tonumber(ARGV[4]) * 2 ^ math.min(c.trips - 1, 20), tonumber(ARGV[5]))
    redis.call('SADD', KEYS[3], key)
    redis.call('PEXPIRE', KEYS[3], KEPT_MS)
    redis.call('HSET', key, 'trips', c.trips, 'open_until', string.format('%.0f', now + for_ms), 'probe_until', 0,
      'trouble', ARGV[6], 'said', ARGV[7])
    if c.down_since == 0 then redis.call('HSET', key, 'down_since', now) end
    c.failures = 0
  end
  redis.call('HSET', key, 'failures', c.failures)
  redis.call('PEXPIRE', key, KEPT_MS)
end
return {0, 0}
