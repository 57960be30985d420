-- A job cannot succeed. ARGV: id, token, reason. Answers hints.
local job = held(ARGV[5], ARGV[6])
if not job then
  return {'0'}
end
settle(ARGV[5], job, 'dead', ARGV[7])
complete()
return feed({})
