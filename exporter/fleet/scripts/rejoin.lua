-- rejoin(name, epoch, new id, lease, about): the seat again in a Redis that may have lost it.
-- {'fenced'} where a later one has it, or {'joined', id of the fleet}
local name, epoch, id, lease, about = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local held = tonumber(redis.call('HGET', p .. 'epochs', name))
if held and held > tonumber(epoch) then
  return {'fenced'}
end
notice()
local last = tonumber(redis.call('HGET', fleet, 'epoch')) or 0
if last < tonumber(epoch) then
  -- It does not know that we joined. A new id tells all others that it is not what it was.
  redis.call('HSET', fleet, 'id', id, 'epoch', digits(math.max(tonumber(epoch), next_epoch)), 'back_at', digits(now))
  redis.call('HSETNX', fleet, 'born_at', digits(now))
end
seat(name, epoch, lease, about)
return {'joined', redis.call('HGET', fleet, 'id')}
