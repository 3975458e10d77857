-- Before every script. KEYS[1] is the fleet's own hash; every other key begins as it does, in one cluster slot.
local fleet = KEYS[1]
local p = string.sub(fleet, 1, -6)
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
-- Epochs are never given again, not even by a Redis that has lost its data since: they are microseconds.
local next_epoch = clock[1] * 1000000 + clock[2]
local MANY = 4000  -- as many values as Lua may unpack at once, and some to spare

local function digits(number)
  return string.format('%.0f', number)
end

-- A Redis that was started again, or another one in its place, may have lost the last of what it was told.
local function notice()
  local info = redis.pcall('INFO', 'server')
  local run = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or 'unknown'
  if redis.call('HGET', fleet, 'run_id') ~= run then
    redis.call('HSET', fleet, 'run_id', run, 'back_at', digits(now))
  end
end

-- Whoever lives has not had the time yet to say so, and what it has.
local function young(lease)
  return now - (tonumber(redis.call('HGET', fleet, 'back_at')) or now) < lease
end

local function is_member(name, epoch)
  return redis.call('HGET', p .. 'epochs', name) == epoch
end

local function seat(name, epoch, lease, about)
  redis.call('HSET', p .. 'epochs', name, epoch)
  redis.call('ZADD', p .. 'leases', now + lease, name)
  redis.call('ZADD', p .. 'names', now, name)
  redis.call('HSET', p .. 'about', name, about)
  redis.call('HDEL', p .. 'went', name)
end

local function unseat(name, why)
  redis.call('HDEL', p .. 'epochs', name)
  redis.call('ZREM', p .. 'leases', name)
  redis.call('HDEL', p .. 'about', name)
  redis.call('HSET', p .. 'went', name, why)
  redis.call('ZADD', p .. 'names', now, name)
  if redis.call('GET', p .. 'poller') == name then
    redis.call('DEL', p .. 'poller')
  end
  redis.call('XADD', p .. 'found', 'MAXLEN', '~', 500, '*', ' gone', name)
end

local function version_of(name)
  return tonumber(redis.call('HGET', p .. 'kept:' .. name, 'version')) or 0
end

-- Asks for many fields of a hash at once.
local function all_of(hash, fields)
  local found = {}
  for from = 1, #fields, MANY do
    local upto = math.min(from + MANY - 1, #fields)
    local some = redis.call('HMGET', hash, unpack(fields, from, upto))
    for place = 1, upto - from + 1 do
      found[from + place - 1] = some[place]
    end
  end
  return found
end
