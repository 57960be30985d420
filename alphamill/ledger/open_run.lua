-- Create a run unless it exists. ARGV: kind, spec, priority. Answers 1 if created.
if redis.call('EXISTS', stem .. 'run') == 1 then
  return 0
end
redis.call('HSET', stem .. 'run', 'state', 'submitting', 'kind', ARGV[5], 'spec', ARGV[6],
  'priority', ARGV[7], 'created_ms', now, 'open', 0, 'goals', 0, 'goals_done', 0)
return 1
