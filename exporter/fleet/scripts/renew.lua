-- renew(name, epoch, id, lease, about): the lease from now on; who else there is.
-- {'lost'}: this Redis does not know what it told us. {'fenced'}: it does, and the seat was taken away.
-- {'renewed', now, version last kept, 1 if this one polls, calls it owns, calls that wait,
--  {name, epoch, end of its lease, …} of the members, {name, calls, 'left' or 'dead', …} of those who are gone and have left calls}
local name, epoch, id, lease, about = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
notice()
if redis.call('HGET', fleet, 'id') ~= id or (tonumber(redis.call('HGET', fleet, 'epoch')) or 0) < tonumber(epoch) then
  return {'lost'}
end
if not is_member(name, epoch) then
  redis.call('HINCRBY', p .. 'kept:' .. name, 'refused', 1)
  return {'fenced'}
end
seat(name, epoch, lease, about)
local poller = redis.call('GET', p .. 'poller')
if not poller or poller == name then
  redis.call('SET', p .. 'poller', name, 'PX', lease)
  poller = name
end
local members = {}
local leases = redis.call('ZRANGE', p .. 'leases', 0, -1, 'WITHSCORES')
for place = 1, #leases, 2 do
  members[#members + 1] = leases[place]
  members[#members + 1] = redis.call('HGET', p .. 'epochs', leases[place])
  members[#members + 1] = digits(tonumber(leases[place + 1]))
end
local gone = {}
for _, each in ipairs(redis.call('ZRANGE', p .. 'names', 0, -1)) do
  if redis.call('HEXISTS', p .. 'epochs', each) == 0 then
    local left = redis.call('SCARD', p .. 'calls:' .. each)
    if left > 0 then
      gone[#gone + 1] = each
      gone[#gone + 1] = left
      gone[#gone + 1] = redis.call('HGET', p .. 'went', each) or 'dead'
    end
  end
end
local waiting = redis.call('ZCARD', p .. 'waiting')
local owned = redis.call('SCARD', p .. 'calls:' .. name)
return {'renewed', digits(now), version_of(name), poller == name and 1 or 0, owned, waiting, members, gone}
