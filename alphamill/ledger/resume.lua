-- One bounded step of resuming. ARGV: cursor. Answers the next cursor ('0' at the end) or nil if
-- there is no such run. A settled run turns active with the last step, when no need is left dead.
local state = field('state')
if not state then
  return nil
end
local page = redis.call('HSCAN', stem .. 'jobs', ARGV[5], 'COUNT', SCAN_COUNT)
for i = 1, #page[2], 2 do
  reopen(page[2][i])
end
if page[1] == '0' and not is_active() then
  if state == 'cancelled' or tonumber(field('open')) > 0 then
    redis.call('HSET', stem .. 'run', 'state', field('sealed') and 'running' or 'submitting')
    redis.call('HDEL', stem .. 'run', 'finished_ms')
    complete()
  end
end
return page[1]
