-- claim(name, epoch, lease, call, …): calls that nobody living owns become this one's.
-- {'fenced'}, {'young'} or {'claimed', what became of it, facts, name of the earlier owner, …} of each call:
-- 'claimed', 'yours' (it was already), 'theirs', 'ended' or 'unknown'
local name, epoch, lease = ARGV[1], ARGV[2], tonumber(ARGV[3])
if not is_member(name, epoch) then
  return {'fenced'}
end
notice()
if young(lease) then
  return {'young'}
end
local answers = {'claimed'}
local function answer(what, facts, earlier)
  answers[#answers + 1] = what
  answers[#answers + 1] = facts or ''
  answers[#answers + 1] = earlier or ''
end
for place = 4, #ARGV do
  local call = ARGV[place]
  local owner = redis.call('HGET', p .. 'owners', call)
  local facts = redis.call('HGET', p .. 'facts', call)
  if owner == name then
    answer('yours', facts)
  elseif owner and redis.call('HEXISTS', p .. 'epochs', owner) == 1 then
    answer('theirs', nil, owner)
  elseif redis.call('ZSCORE', p .. 'ended', call) then
    redis.call('ZREM', p .. 'waiting', call)
    answer('ended')
  elseif not facts then
    answer('unknown')
  else
    if owner then
      redis.call('SREM', p .. 'calls:' .. owner, call)
    end
    redis.call('HSET', p .. 'owners', call, name)
    redis.call('SADD', p .. 'calls:' .. name, call)
    redis.call('ZREM', p .. 'waiting', call)
    redis.call('ZREM', p .. 'released', call)
    answer('claimed', facts, owner)
  end
end
return answers
