-- leave(name, epoch): give the seat back; whatever it owns may be claimed from now on. {'left'} or {'fenced'}
local name, epoch = ARGV[1], ARGV[2]
if not is_member(name, epoch) then
  return {'fenced'}
end
unseat(name, 'left')
-- It may be asked for its page once more: what it shows may be kept until somebody else has the name.
redis.call('HSET', p .. 'kept:' .. name, 'retired', epoch)
return {'left'}
