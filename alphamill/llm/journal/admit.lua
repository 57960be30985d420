-- The way to a call in one step: nothing if it is answered or not affordable; else its turn, if that can
-- be had now; and with it the money. `journal` and `turn` are whole scripts, put in front of this one as
-- functions of KEYS and ARGV.
-- KEYS: the journal's seven, then the turn's
-- ARGV: how many arguments the turn has, these, then the journal's for `reserve`
-- Answers the turn's answer (JSON with `granted`; '' if it was not asked), then the journal's
local ours, theirs, asked, reserve = {}, {}, {}, {}
for i, key in ipairs(KEYS) do
  if i <= 7 then ours[i] = key else theirs[i - 7] = key end
end
local first = tonumber(ARGV[1]) + 2
for i = 2, first - 1 do asked[i - 1] = ARGV[i] end
for i = first, #ARGV do reserve[i - first + 1] = ARGV[i] end

reserve[1] = 'check'
local verdict = journal(ours, reserve)
if verdict[1] ~= 'fits' then return {'', unpack(verdict)} end
local booked = turn(theirs, asked)
if cjson.decode(booked).granted then
  reserve[1] = 'reserve'
  verdict = journal(ours, reserve)
end
return {booked, unpack(verdict)}
