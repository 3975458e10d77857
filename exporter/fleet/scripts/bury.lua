-- bury(name, epoch, lease, dead name, its epoch, …): take the seats away of those whose lease is over.
-- {'fenced'}, {'young'} or {'buried', name, …}
local name, epoch, lease = ARGV[1], ARGV[2], tonumber(ARGV[3])
if not is_member(name, epoch) then
  return {'fenced'}
end
notice()
if young(lease) then
  return {'young'}
end
local buried = {'buried'}
for place = 4, #ARGV, 2 do
  local dead, its = ARGV[place], ARGV[place + 1]
  local ends = tonumber(redis.call('ZSCORE', p .. 'leases', dead)) or 0
  if dead ~= name and is_member(dead, its) and ends < now then
    unseat(dead, 'dead')
    buried[#buried + 1] = dead
  end
end
return buried
