-- publish(call, row, kind, …): what was found goes to all. kind: 'new' may be followed by whoever claims it; so may 'over',
-- which knows more of a call than its being there; 'word' is something said about a call, for its owner.
-- For each call its owner's name, '' where it has none, ' ended' where it is over (no name has a blank).
local answers, entry = {}, {}
for place = 1, #ARGV, 3 do
  local call, row, kind = ARGV[place], ARGV[place + 1], ARGV[place + 2]
  local owner = redis.call('HGET', p .. 'owners', call) or ''
  if owner == '' and redis.call('ZSCORE', p .. 'ended', call) then
    owner = ' ended'
  else
    if owner == '' and kind ~= 'word' then
      redis.call('ZADD', p .. 'waiting', 'NX', now, call)
      local facts = redis.call('HGET', p .. 'facts', call)
      if not facts or (kind == 'over' and string.sub(facts, 1, 1) == 'F') then
        redis.call('HSET', p .. 'facts', call, row)
      end
    end
    entry[#entry + 1] = row
    entry[#entry + 1] = owner
  end
  answers[#answers + 1] = owner
end
for from = 1, #entry, MANY do
  local upto = math.min(from + MANY - 1, #entry)
  redis.call('XADD', p .. 'found', 'MAXLEN', '~', 500, '*', unpack(entry, from, upto))
end
return answers
