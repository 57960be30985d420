-- Appends rows to a live's stream without a hole.
-- KEYS[1] the stream. ARGV[1] about how many entries are kept; ARGV[2] the number of the first row
-- given; ARGV[3] 1 if a stream without entries may begin with it; then a payload and a hash a row.
-- Returns how many rows of the chain are in the stream afterwards, counted from the first.
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local rows = 0
if #newest > 0 then
  rows = tonumber(string.match(newest[1][1], '^(%d+)'))
elseif ARGV[3] == '1' then
  rows = tonumber(ARGV[2])
end
for at = 4, #ARGV, 2 do
  local seq = tonumber(ARGV[2]) + (at - 4) / 2
  if seq == rows then
    rows = rows + 1
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], string.format('%d-0', rows),
      'payload', ARGV[at], 'hash', ARGV[at + 1])
  end
end
return rows
