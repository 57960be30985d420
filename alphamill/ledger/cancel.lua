-- One bounded step of cancelling. ARGV: cursor, first (1 or 0). Answers the next cursor ('0' at the
-- end) or nil if there is no such run. The run's state turns first: from then on nothing is claimed.
local state = field('state')
if not state then
  return nil
end
if ARGV[6] == '1' and is_active() then
  state = 'cancelled'
  redis.call('HSET', stem .. 'run', 'state', state, 'finished_ms', now)
end
if state ~= 'cancelled' then -- settled by itself, or somebody resumed it meanwhile
  return '0'
end
local page = redis.call('HSCAN', stem .. 'jobs', ARGV[5], 'COUNT', SCAN_COUNT)
for i = 1, #page[2], 2 do
  local id = page[2][i]
  local job = find(id)
  if not SETTLED[job.state] then
    settle(id, job, 'cancelled', 'the run was cancelled')
  end
end
return page[1]
