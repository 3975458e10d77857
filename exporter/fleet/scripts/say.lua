-- say(name, epoch, identity, …): who counts these (results of analytics, which a webhook and a call's log both bring).
-- {'fenced'}, or for each 1: this one does, and says so with its next commit; 0: somebody has; 2: another member is about
-- to, and may yet be gone before it does.
-- Who is about to stands there as a life, not as a name: the next life of that name knows nothing of it. It stands for
-- longer than anybody keeps trying to commit, and goes with the commit.
local name, epoch = ARGV[1], ARGV[2]
if not is_member(name, epoch) then
  return {'fenced'}
end
local me = epoch .. ' ' .. name
local function is_about_to(life)
  local their_epoch, their_name = string.match(life, '^(%S+) (.*)$')
  return their_epoch and is_member(their_name, their_epoch)
end
local answers = {}
for place = 3, #ARGV do
  local each, mine = ARGV[place], 0
  if not redis.call('ZSCORE', p .. 'said', each) then
    local by = redis.call('GET', p .. 'saying:' .. each)
    if by and by ~= me and is_about_to(by) then
      mine = 2
    else
      redis.call('SET', p .. 'saying:' .. each, me, 'PX', 86400000)
      mine = 1
    end
  end
  answers[#answers + 1] = mine
end
return answers
