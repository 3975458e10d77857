-- ahead(name, epoch, '1' or '0'): what is shown under this name is more than is kept, or is kept again.
-- {'said'} or {'fenced'}
local name, epoch, ahead = ARGV[1], ARGV[2], ARGV[3]
if not is_member(name, epoch) then
  return {'fenced'}
end
if ahead == '1' then
  redis.call('HSET', p .. 'kept:' .. name, 'ahead', '1')
else
  redis.call('HDEL', p .. 'kept:' .. name, 'ahead')
end
return {'said'}
