-- publish(call, row, kind, …): what was found goes to all. kind: 'new' may be followed by whoever claims it, 'word' is
-- something said about a call, for its owner.
-- For each call its owner's name, '' where it has none, ' ended' where it is over (no name has a blank).
local answers, entry = {}, {}
for place = 1, #ARGV, 3 do
  local call, row, kind = ARGV[place], ARGV[place + 1], ARGV[place + 2]
  local owner = redis.call('HGET', p .. 'owners', call) or ''
  if owner == '' and redis.call('ZSCORE', p .. 'ended', call) then
    owner = ' ended'
  else
    if owner == '' and kind == 'new' then
      redis.call('ZADD', p .. 'waiting', 'NX', now, call)
      redis.call('HSETNX', p .. 'facts', call, row)
    end
    entry[#entry + 1] = owner
    entry[#entry + 1] = row
  end
  answers[#answers + 1] = owner
end
for from = 1, #entry, MANY do
  local upto = math.min(from + MANY - 1, #entry)
  redis.call('XADD', p .. 'found', 'MAXLEN', '~', 500, '*', unpack(entry, from, upto))
end
return answers
