-- One pool's limits, each call one atomic step on this server's clock. memory.py states the same
-- arithmetic in Python; tests/contract/test_limits_same_arithmetic.py holds the two together.
--
-- KEYS[1]  hash, the pool's state; all times in ms of this server's clock
--   <dim>|issued|<window>    units booked in a window of the exchange's clock
--   <dim>|next|<window>      when the pace allows the next unit
--   <dim>|external|<window>  units of others, as far as replies have shown
--   <dim>|owed_until         steady rate: when everything booked will have been worked off
--   <dim>|lately|<window>    steady rate: booked, less what was given back, for people
--   offset|low, offset|high, offset|at   bounds of (exchange's clock - ours), and when they held
--   pause|until, pause|reason
-- KEYS[2]  sorted set: slots of the metered dimension by their moment, until it has passed, as
--          <window>|<cost>|<token>; and tokens of settled slots, so that none is settled twice
-- KEYS[3]  sorted set: tokens of the slots held at this time, by the end of their lease
-- ARGV[1]  the operation, ARGV[2] its arguments as JSON; answers in JSON

local DRIFT = 50e-6        -- clocks part by at most 50 ppm
local CATCH_UP = 0.05      -- of a window: how much of the pace may be made up after idling
local MARGIN = 1.05        -- on what others are expected to use
local KEEP_MS = 86400000
local SETTLED_MS = 600000  -- a repeated settle comes from the client's own retry, within seconds

local ask = cjson.decode(ARGV[2])
local now = ask.now_ms
if now == nil then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
end

local state = {}
local flat = redis.call('HGETALL', KEYS[1])
for i = 1, #flat, 2 do state[flat[i]] = flat[i + 1] end

local function number(field, default)
  return tonumber(state[field] or default)
end

local function put(field, value)
  state[field] = string.format('%.6f', value)
  redis.call('HSET', KEYS[1], field, state[field])
end

local function score(ms)
  return string.format('%.3f', ms)
end

local function keep()
  local paused_ms = math.max(0, number('pause|until', 0) - now)
  redis.call('PEXPIRE', KEYS[1], math.ceil(KEEP_MS + paused_ms))
end

local function cell(dim, what, window)
  return string.format('%s|%s|%d', dim.name, what, window)
end

-- Bounds of the offset now; never so far apart that a window could close before it opens.
local function offset(window_ms)
  if not state['offset|low'] then return 0, 0 end
  local drift = (now - number('offset|at')) * DRIFT
  local low, high = number('offset|low') - drift, number('offset|high') + drift
  local excess = math.max(0, (high - low) - window_ms / 4) / 2
  return low + excess, high - excess
end

-- What others will have used by the end of `window`: what they used before, or what they have
-- used so far in it and will if they go on like that.
local function forecast(dim, window)
  local low, high = offset(dim.window_ms)
  local begun = (now + (low + high) / 2 - window * dim.window_ms) / dim.window_ms
  begun = math.min(1, math.max(0, begun))
  local seen = number(cell(dim, 'external', window), 0)
  local before = number(cell(dim, 'external', window - 1), number(cell(dim, 'external', window - 2), 0))
  local rate = math.max(before, seen / math.max(begun, 0.5))
  return math.max(before, seen + rate * (1 - begun))
end

local function room(dim, window)
  return dim.limit - MARGIN * forecast(dim, window)
end

-- The first moment from `from` on at which `cost` fits, its window, and the last safe moment.
local function place_fixed(dim, cost, from)
  local low, high = offset(dim.window_ms)
  local window = math.floor((from + low) / dim.window_ms)
  while true do
    local opens = window * dim.window_ms - low + dim.guard_ms
    local closes = (window + 1) * dim.window_ms - high - dim.guard_ms
    local at = math.max(from, opens, number(cell(dim, 'next', window), 0))
    local fits = number(cell(dim, 'issued', window), 0) + cost <= room(dim, window)
    if fits and at <= closes - ask.lead_frac * dim.guard_ms then return at, window, closes end
    window = window + 1
  end
end

local function place_steady(dim, cost, from)
  local unit_ms = dim.window_ms / dim.limit
  return math.max(from, number(dim.name .. '|owed_until', 0) + (cost - math.max(dim.burst, cost)) * unit_ms)
end

-- One moment that suits every dimension: a later one may push it, so repeat until none does.
local function place(from)
  local at, windows, send_by = from, {}, nil
  for _ = 1, 64 do
    local before = at
    send_by = nil
    for i, dim in ipairs(ask.dims) do
      if dim.kind == 'fixed' then
        local closes
        at, windows[i], closes = place_fixed(dim, dim.cost, at)
        send_by = math.min(send_by or closes, closes)
      elseif dim.kind == 'concurrent' then
        windows[i] = -1
      else
        at, windows[i] = place_steady(dim, dim.cost, at), -1
      end
    end
    if at == before then return at, windows, send_by, true end
  end
  return at, windows, send_by, false
end

local function held()
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', score(now))
  return redis.call('ZCARD', KEYS[3])
end

local function drop_old(dim, window)
  local prefix = dim.name .. '|'
  for field in pairs(state) do
    local old = tonumber(string.match(field, '|(-?%d+)$'))
    if old and old < window - 3 and string.sub(field, 1, #prefix) == prefix then
      redis.call('HDEL', KEYS[1], field)
    end
  end
end

local function commit_fixed(dim, at, window)
  local low, high = offset(dim.window_ms)
  local usable_ms = dim.window_ms - (2 + ask.lead_frac) * dim.guard_ms - (high - low)
  local unit_ms = usable_ms / (math.max(room(dim, window), dim.cost) * dim.pace)
  local issued = cell(dim, 'issued', window)
  local next_ms = math.max(number(cell(dim, 'next', window), 0), at - CATCH_UP * dim.window_ms)
  if not state[issued] then drop_old(dim, window) end
  put(issued, number(issued, 0) + dim.cost)
  if dim.cost > 0 then put(cell(dim, 'next', window), next_ms + dim.cost * unit_ms) end
end

-- Only for people: what a steady rate has booked counts here in windows of its length.
local function note(dim)
  local window = math.floor(now / dim.window_ms)
  local field = cell(dim, 'lately', window)
  if not state[field] then drop_old(dim, window) end
  put(field, number(field, 0) + dim.cost)
end

local function lately(dim)
  local window = math.floor(now / dim.window_ms)
  local before = number(cell(dim, 'lately', window - 1), 0) * (1 - (now / dim.window_ms - window))
  return math.max(0, number(cell(dim, 'lately', window), 0) + before)
end

local function commit(at, windows)
  for i, dim in ipairs(ask.dims) do
    if dim.kind == 'fixed' then
      commit_fixed(dim, at, windows[i])
      if dim.metered then
        redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. score(now))
        local member = string.format('%d|%s|%s', windows[i], dim.cost, ask.token)
        redis.call('ZADD', KEYS[2], score(at), member)
        redis.call('PEXPIRE', KEYS[2], SETTLED_MS)
      end
    elseif dim.kind == 'concurrent' then
      redis.call('ZADD', KEYS[3], score(at + dim.lease_ms), ask.token)
      redis.call('PEXPIRE', KEYS[3], math.ceil(at - now + 2 * dim.lease_ms))
    else
      local owed = math.max(number(dim.name .. '|owed_until', 0), at)
      put(dim.name .. '|owed_until', owed + dim.cost * dim.window_ms / dim.limit)
      note(dim)
    end
  end
  keep()
end

local function book()
  local paused = number('pause|until', 0)
  local at, windows, send_by, settled = place(math.max(now, paused))
  local busy = false
  for _, dim in ipairs(ask.dims) do
    if dim.kind == 'concurrent' then busy = held() >= dim.limit end
  end
  local granted = settled and at - now <= ask.ahead_ms and not busy
  if granted then commit(at, windows) end
  local within = send_by and send_by - now or -1
  local reason = paused > now and state['pause|reason'] or 'the limit is reached'
  local wait_ms = math.max(at - now, busy and ask.busy_ms or 0)
  return {granted = granted, wait_ms = wait_ms, at_ms = at, within_ms = within,
          windows = windows, reason = reason, busy = busy}
end

-- Booked in `window` and due by now: what the server may have counted of ours.
local function due(dim, window)
  local sum = number(cell(dim, 'issued', window), 0)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. score(now), '+inf')) do
    local booked_in, cost = string.match(member, '^(-?%d+)|([^|]+)|')
    if booked_in and tonumber(booked_in) == window then sum = sum - tonumber(cost) end
  end
  return sum
end

-- The reply's clock was read after the request left and before now: two bounds of the offset.
-- Samples are intersected; one that contradicts them means that a clock was set, and replaces them.
local function calibrate()
  local low = ask.server_ms - now
  local high = ask.server_ms + ask.resolution_ms - ask.at_ms
  if state['offset|low'] then
    local drift = (now - number('offset|at')) * DRIFT
    local old_low, old_high = number('offset|low') - drift, number('offset|high') + drift
    if math.max(low, old_low) <= math.min(high, old_high) then
      low, high = math.max(low, old_low), math.min(high, old_high)
    end
  end
  put('offset|low', low)
  put('offset|high', high)
  put('offset|at', now)
end

local function observe()
  local dim, same = ask.dims[1], true
  if ask.server_ms then
    calibrate()
    local first = math.floor(ask.server_ms / dim.window_ms)
    local last = math.floor((ask.server_ms + ask.resolution_ms - 1) / dim.window_ms)
    same = first <= ask.window and ask.window <= last
  end
  if ask.used and same then
    local field = cell(dim, 'external', ask.window)
    put(field, math.max(number(field, 0), ask.used - due(dim, ask.window)))
  end
  keep()
  return {}
end

-- A refund gives back no more than is still owed: whoever reads a moment in the past takes it for now.
local function give_back()
  redis.call('ZREM', KEYS[3], ask.token)
  return {}
end

local function settle()
  give_back()
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. score(now))
  if redis.call('ZADD', KEYS[2], 'NX', score(now + SETTLED_MS), ask.token) == 0 then return {} end
  redis.call('PEXPIRE', KEYS[2], SETTLED_MS)
  for _, dim in ipairs(ask.dims) do
    local field = dim.name .. '|owed_until'
    local owed = math.max(number(field, 0), now)
    put(field, owed + dim.cost * dim.window_ms / dim.limit)
    note(dim)
  end
  keep()
  return {}
end

local function pause()
  local till = now + ask.for_ms
  if till > number('pause|until', 0) then
    put('pause|until', till)
    redis.call('HSET', KEYS[1], 'pause|reason', ask.reason)
    keep()
  end
  return {}
end

local function unpause()
  redis.call('HDEL', KEYS[1], 'pause|until', 'pause|reason')
  return {}
end

local function paused()
  return {paused_ms = math.max(0, number('pause|until', 0) - now)}
end

local function read()
  local dims = {}
  for i, dim in ipairs(ask.dims) do
    if dim.kind == 'fixed' then
      local low, high = offset(dim.window_ms)
      local window = math.floor((now + (low + high) / 2) / dim.window_ms)
      dims[i] = {issued = number(cell(dim, 'issued', window), 0),
                 external = number(cell(dim, 'external', window), 0), forecast = forecast(dim, window)}
    elseif dim.kind == 'concurrent' then
      dims[i] = {issued = held(), external = 0, forecast = 0}
    else
      local owed_ms = math.max(0, number(dim.name .. '|owed_until', 0) - now)
      dims[i] = {issued = owed_ms * dim.limit / dim.window_ms, external = 0, forecast = 0, lately = lately(dim)}
    end
  end
  local till = number('pause|until', 0)
  return {dims = dims, paused_until_ms = till > now and math.ceil(till) or nil,
          reason = till > now and state['pause|reason'] or '',
          low_ms = state['offset|low'] and number('offset|low') or nil,
          high_ms = state['offset|high'] and number('offset|high') or nil}
end

local operations = {book = book, observe = observe, settle = settle, pause = pause,
                    unpause = unpause, paused = paused, read = read, give_back = give_back}
return cjson.encode(operations[ARGV[1]]())
