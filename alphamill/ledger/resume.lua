-- One bounded step of resuming. ARGV: cursor, and when the run ended as its caller saw it, if done jobs
-- that a budget kept from asking go back too (else ''). Answers the next cursor ('0' at the end, 'again'
-- to begin anew: what comes after those jobs is found then) or nil if there is no such run. A settled run
-- turns active with the last step, when no need is left dead; until then nobody can claim what went back,
-- and whoever dies half way leaves what the next one to resume finds.
local UNDONE_A_STEP = 500
local state = field('state')
if not state then
  return nil
end
local cursor = ARGV[5] == 'again' and '0' or ARGV[5]
local ended_ms = tonumber(ARGV[6])
local unfunded = ended_ms and ended_ms == tonumber(field('finished_ms') or '') and not is_active()
local left = UNDONE_A_STEP
local page = redis.call('HSCAN', stem .. 'jobs', cursor, 'COUNT', SCAN_COUNT)
for i = 1, #page[2], 2 do
  local id = page[2][i]
  reopen(id)
  if not is_active() then
    local job = find(id)
    if job.state == 'done' and (job.again or (unfunded and job.unfunded)) then
      if left > 0 then
        left = left - undo(id, left)
      elseif not job.again then
        job.again = true
        redis.call('HINCRBY', stem .. 'run', 'again', 1)
        save(id, job)
      end
    end
  end
end
if page[1] == '0' and not is_active() then
  if tonumber(field('again') or '0') > 0 then
    return 'again'
  end
  if state == 'cancelled' or tonumber(field('open')) > 0 then
    redis.call('HSET', stem .. 'run', 'state', field('sealed') and 'running' or 'submitting')
    redis.call('HDEL', stem .. 'run', 'finished_ms')
    complete()
  end
end
return page[1]
