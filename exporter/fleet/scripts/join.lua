-- join(name, lease, about, id): a seat under this name, unless somebody else has it.
-- {'taken', milliseconds left} or {'joined', epoch, id of the fleet, version last kept, 1 if the fleet is new}
local name, lease, about, id = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local ends = tonumber(redis.call('ZSCORE', p .. 'leases', name))
if ends and ends > now then
  return {'taken', ends - now}
end
notice()
local founded = redis.call('HSETNX', fleet, 'id', id)
if founded == 1 then
  redis.call('HSET', fleet, 'born_at', digits(now), 'back_at', digits(now))
end
local epoch = math.max((tonumber(redis.call('HGET', fleet, 'epoch')) or 0) + 1, next_epoch)
redis.call('HSET', fleet, 'epoch', digits(epoch))
seat(name, digits(epoch), lease, about)
redis.call('HDEL', p .. 'kept:' .. name, 'retired')
return {'joined', digits(epoch), redis.call('HGET', fleet, 'id'), version_of(name), founded}
