-- commit(name, epoch, id, version last kept, version of this one, flags, at, counts since, sections…)
-- Everything or nothing. A section is how many strings follow, and these:
--   news      call, facts ('' : as they are), identities (8 bytes each), …
--   over      call, …
--   released  call, …                       no calls of ours, for now: others may have them
--   said      identity, …                   counted for good: deliveries, results of analytics
--   series    field, value, …
--   forgotten field, …
--   layouts   family, layout, …             nothing: as they are
--   kept      field, value, …
-- flags: 'a' the series begin anew; 'r' this Redis lost what it had, and gets all of it again.
-- {'kept'}, {'fenced', call, its owner}, {'stale'}, or, from a Redis that has lost something: {'lost'}, {'behind', version}
local name, epoch, id = ARGV[1], ARGV[2], ARGV[3]
local acknowledged, version, flags, at, since = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], ARGV[7], ARGV[8]
local again = string.find(flags, 'r', 1, true)
if redis.call('HGET', fleet, 'id') ~= id or (tonumber(redis.call('HGET', fleet, 'epoch')) or 0) < tonumber(epoch) then
  return {'lost'}
end
local function refused(call, owner)
  redis.call('HINCRBY', p .. 'kept:' .. name, 'refused', 1)
  return {'fenced', call, owner}
end
local retired = redis.call('HGET', p .. 'kept:' .. name, 'retired') == epoch
if not is_member(name, epoch) and not retired then
  return refused('', '')
end
local has = version_of(name)
if has == version then
  return {'kept'}  -- its answer was lost, and it was sent again
end
if has > version then
  return {'stale'}  -- it was overtaken by a later one
end
if has < acknowledged and not again then
  return {'behind', has}
end

local place = 9
local function section()
  local from, many = place + 1, tonumber(ARGV[place])
  place = from + many
  return from, from + many - 1
end
local news, news_end = section()
local over, over_end = section()
local released, released_end = section()
local said, said_end = section()
local series, series_end = section()
local forgotten, forgotten_end = section()
local layouts, layouts_end = section()
local kept, kept_end = section()

if retired and math.max(news_end - news, over_end - over, released_end - released, said_end - said) >= 0 then
  return refused('', '')  -- it has left: what it shows may be kept, nothing more may be counted
end

local calls = {}
for here = news, news_end, 3 do calls[#calls + 1] = ARGV[here] end
local in_news = #calls
for here = over, over_end do calls[#calls + 1] = ARGV[here] end
local owners = all_of(p .. 'owners', calls)
for number, owner in ipairs(owners) do
  if owner ~= name then
    local held = owner and redis.call('HEXISTS', p .. 'epochs', owner) == 1
    if again and held then  -- by whom it is held now, not by whom before it went back
      held = (tonumber(redis.call('ZSCORE', p .. 'leases', owner)) or 0) >= now
    end
    local ended = not owner and redis.call('ZSCORE', p .. 'ended', calls[number])
    if held or (ended and number <= in_news and not again) then
      if has < acknowledged then redis.call('HSET', p .. 'kept:' .. name, 'ahead', '1') end
      return refused(calls[number], owner or '')
    elseif not again and not ended then
      return {'behind', has}  -- it was ours: Redis has lost that
    end
  end
end

for number = 1, again and in_news or 0 do
  local call, owner = calls[number], owners[number]
  if owner and owner ~= name then redis.call('SREM', p .. 'calls:' .. owner, call) end
  redis.call('HSET', p .. 'owners', call, name)
  redis.call('SADD', p .. 'calls:' .. name, call)
  redis.call('ZREM', p .. 'waiting', call)
  redis.call('ZREM', p .. 'ended', call)
  redis.call('DEL', p .. 'ids:' .. call)
end

local function in_steps(from, upto, step)
  local first = from - step
  return function()
    first = first + step
    if first <= upto then return first, math.min(first + step - 1, upto) end
  end
end
for here = news, news_end, 3 do
  local call, facts, identities = ARGV[here], ARGV[here + 1], ARGV[here + 2]
  if facts ~= '' then redis.call('HSET', p .. 'facts', call, facts) end
  if identities ~= '' then redis.call('APPEND', p .. 'ids:' .. call, identities) end
end
local function let_go(call)
  redis.call('HDEL', p .. 'owners', call)
  redis.call('SREM', p .. 'calls:' .. name, call)
end
for here = over, over_end do
  local call, owner = ARGV[here], owners[in_news + here - over + 1]
  if owner and owner ~= name then redis.call('SREM', p .. 'calls:' .. owner, call) end
  let_go(call)
  redis.call('HDEL', p .. 'facts', call)
  redis.call('DEL', p .. 'ids:' .. call)
  redis.call('ZREM', p .. 'waiting', call)
  redis.call('ZADD', p .. 'ended', at, call)
end
for here = released, released_end do
  local call = ARGV[here]
  if redis.call('HGET', p .. 'owners', call) == name then
    let_go(call)
    if redis.call('EXISTS', p .. 'ids:' .. call) == 1 then
      redis.call('ZADD', p .. 'released', at, call)
    else
      redis.call('HDEL', p .. 'facts', call)
    end
  end
end
for here = said, said_end do
  redis.call('ZADD', p .. 'said', at, ARGV[here])
  redis.call('DEL', p .. 'saying:' .. ARGV[here])
end
local rows, shapes = p .. 'series:' .. name, p .. 'layouts:' .. name
if string.find(flags, 'a', 1, true) then redis.call('DEL', rows) end
if layouts <= layouts_end then
  -- Series of a family that has another layout now, or is no more, cannot be gone on from.
  local shape, others, other = {}, {}, false
  for here = layouts, layouts_end, 2 do shape[ARGV[here]] = ARGV[here + 1] end
  local had = redis.call('HGETALL', shapes)
  for here = 1, #had, 2 do
    if shape[had[here]] ~= had[here + 1] then
      others[had[here]], other = true, true
    end
  end
  for _, field in ipairs(other and redis.call('HKEYS', rows) or {}) do
    if others[cmsgpack.unpack(field)[1]] then redis.call('HDEL', rows, field) end
  end
  redis.call('DEL', shapes)
end
for first, last in in_steps(layouts, layouts_end, MANY) do redis.call('HSET', shapes, unpack(ARGV, first, last)) end
for first, last in in_steps(series, series_end, MANY) do redis.call('HSET', rows, unpack(ARGV, first, last)) end
for first, last in in_steps(forgotten, forgotten_end, MANY) do redis.call('HDEL', rows, unpack(ARGV, first, last)) end
for first, last in in_steps(kept, kept_end, MANY) do
  redis.call('HSET', p .. 'kept:' .. name, unpack(ARGV, first, last))
end
redis.call('HSET', p .. 'kept:' .. name, 'version', ARGV[5])
redis.call('HSET', fleet, 'committed_at', at)
if since ~= '' then redis.call('HSET', fleet, 'counts_since', since) end
return {'kept'}
