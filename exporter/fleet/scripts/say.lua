-- say(name, epoch, identity, …): who counts these (results of analytics, which a webhook and a call's log both bring).
-- {'fenced'}, or for each 1: this one does, and says so with its next commit; 0: somebody has; 2: another member is about
-- to, and may yet be gone before it does.
local name, epoch = ARGV[1], ARGV[2]
if not is_member(name, epoch) then
  return {'fenced'}
end
local answers = {}
for place = 3, #ARGV do
  local each, mine = ARGV[place], 0
  if not redis.call('ZSCORE', p .. 'said', each) then
    local by = redis.call('GET', p .. 'saying:' .. each)
    if not by or by == name or redis.call('HEXISTS', p .. 'epochs', by) == 0 then
      redis.call('SET', p .. 'saying:' .. each, name, 'PX', 600000)
      mine = 1
    else
      mine = 2
    end
  end
  answers[#answers + 1] = mine
end
return answers
