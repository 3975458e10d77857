-- expire(before, Unix seconds): what is older is forgotten; and those who never came back.
local before = ARGV[1]
redis.call('ZREMRANGEBYSCORE', p .. 'ended', '-inf', '(' .. before)
redis.call('ZREMRANGEBYSCORE', p .. 'said', '-inf', '(' .. before)
for _, call in ipairs(redis.call('ZRANGEBYSCORE', p .. 'released', '-inf', '(' .. before, 'LIMIT', 0, 1000)) do
  redis.call('ZREM', p .. 'released', call)
  redis.call('HDEL', p .. 'facts', call)
  redis.call('DEL', p .. 'ids:' .. call)
end
local milliseconds = digits(tonumber(before) * 1000)
for _, call in ipairs(redis.call('ZRANGEBYSCORE', p .. 'waiting', '-inf', '(' .. milliseconds, 'LIMIT', 0, 1000)) do
  redis.call('ZREM', p .. 'waiting', call)
  if redis.call('HEXISTS', p .. 'owners', call) == 0 and redis.call('EXISTS', p .. 'ids:' .. call) == 0 then
    redis.call('HDEL', p .. 'facts', call)
  end
end
for _, name in ipairs(redis.call('ZRANGEBYSCORE', p .. 'names', '-inf', '(' .. milliseconds)) do
  if redis.call('HEXISTS', p .. 'epochs', name) == 0 and redis.call('SCARD', p .. 'calls:' .. name) == 0 then
    redis.call('ZREM', p .. 'names', name)
    redis.call('HDEL', p .. 'went', name)
    redis.call('DEL', p .. 'series:' .. name, p .. 'layouts:' .. name, p .. 'kept:' .. name)
  end
end
return {'expired'}
