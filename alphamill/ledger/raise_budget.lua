-- Write down a higher budget. ARGV: micro-dollars. Answers nil if there is no such run, else 'raised',
-- 'same' (it is the last raise: the message came twice) or 'refused', and the budget as it was.
local spec = field('spec')
if not spec then
  return nil
end
local raises = cjson.decode(field('raises') or '[]')
local last, wanted = raises[#raises], tonumber(ARGV[5])
local current = last and last[2] or cjson.decode(spec).budget_usd_micros
current = type(current) == 'number' and current or 0
local was = string.format('%.0f', current)
if wanted <= current then
  return {last and wanted == current and 'same' or 'refused', was}
end
-- By hand: cjson writes whole numbers of 15 digits and more as powers of ten.
local texts = {}
for _, one in ipairs(raises) do
  texts[#texts + 1] = string.format('[%.0f,%.0f]', one[1], one[2])
end
texts[#texts + 1] = string.format('[%.0f,%.0f]', now, wanted)
redis.call('HSET', stem .. 'run', 'raises', '[' .. table.concat(texts, ',') .. ']')
return {'raised', was}
