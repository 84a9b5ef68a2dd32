"""What Redis does in one step, in its own language: each script looks and acts without a gap.

Keys, all behind the prefix and in one hash slot, so that a cluster takes them too::

    {prefix}:nodes            hash    process -> what it tells of itself
    {prefix}:since            string  when this Redis first saw the deployment, ms
    {prefix}:call:ID          string  the owner of a call; empty for a call that is over
    {prefix}:calls:NODE       hash    call -> what others must know to end it
    {prefix}:inbox:NODE       stream  letters
    {prefix}:parked:ID        list    letters for a call without an owner
    {prefix}:once:TOKEN       string  a token that was used

Every key expires; what lives renews its own.
"""

from __future__ import annotations

CLAIM = """
-- KEYS: call, calls, parked, since. ARGV: node, holding, ms to keep, ms to settle.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local since = tonumber(redis.call('GET', KEYS[4]) or '')
if not since or since > now then
  redis.call('SET', KEYS[4], now, 'PX', ARGV[3])
  since = now
end
if now - since < tonumber(ARGV[4]) then
  return {'settling', tostring(tonumber(ARGV[4]) - now + since)}
end
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= '' and owner ~= ARGV[1] then return {'taken'} end
if owner ~= '' then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
  redis.call('HSET', KEYS[2], string.match(KEYS[1], ':call:(.*)'), ARGV[2])
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
end
local letters = redis.call('LRANGE', KEYS[3], 0, -1)
return {owner == '' and 'over' or 'ours', unpack(letters)}
"""

RELEASE = """
-- KEYS: call, calls. ARGV: node.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
  redis.call('HDEL', KEYS[2], string.match(KEYS[1], ':call:(.*)'))
end
"""

SEIZE = """
-- KEYS: call, calls. ARGV: node, holding, ms to keep, prefix of calls.
local owner = redis.call('GET', KEYS[1])
if owner == '' then return end
local id = string.match(KEYS[1], ':call:(.*)')
if owner then redis.call('HDEL', ARGV[4] .. owner, id) end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
redis.call('HSET', KEYS[2], id, ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
"""

BURY = """
-- KEYS: call, calls, parked. ARGV: node, ms to remember.
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= '' and owner ~= ARGV[1] then return end
redis.call('SET', KEYS[1], '', 'PX', ARGV[2])
redis.call('HDEL', KEYS[2], string.match(KEYS[1], ':call:(.*)'))
redis.call('DEL', KEYS[3])
"""

BEAT = """
-- KEYS: nodes, calls, since, inbox, a call...
-- ARGV: node, standing, ms to keep, prefix of calls' keys, a holding...
local ms = ARGV[3]
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local beats = 0
local before = redis.call('HGET', KEYS[1], ARGV[1])
if before then beats = cjson.decode(before)[1] end
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode({beats + 1, cjson.decode(ARGV[2]), now}))
redis.call('SET', KEYS[3], now, 'NX')
local lost, parked, named = {}, {}, {}
for i = 5, #KEYS do
  local owner = redis.call('GET', KEYS[i])
  local id = string.match(KEYS[i], ':call:(.*)')
  named[id] = true
  if not owner or owner == ARGV[1] then
    redis.call('SET', KEYS[i], ARGV[1], 'PX', ms)
    redis.call('HSET', KEYS[2], id, ARGV[i])
    local waiting = redis.call('LRANGE', string.gsub(KEYS[i], ':call:', ':parked:', 1), 0, -1)
    for _, letter in ipairs(waiting) do
      table.insert(parked, id)
      table.insert(parked, letter)
    end
  else
    table.insert(lost, id)
    table.insert(lost, owner)
  end
end
local unnamed = {}
local calls = redis.call('HGETALL', KEYS[2])
for i = 1, #calls, 2 do
  if redis.call('GET', ARGV[4] .. calls[i]) ~= ARGV[1] then
    redis.call('HDEL', KEYS[2], calls[i])
  elseif not named[calls[i]] then
    table.insert(unnamed, calls[i])
    table.insert(unnamed, calls[i + 1])
  end
end
for i = 1, 4 do redis.call('PEXPIRE', KEYS[i], ms) end
return {redis.call('HGETALL', KEYS[1]), lost, parked, unnamed, now}
"""

DELIVER = """
-- KEYS: call, its alias, parked.
-- ARGV: node, letter, otherwise, ms to remember, ms to park, letters to park, prefix of inboxes,
--       letters to keep, ms to keep.
local owner = redis.call('GET', KEYS[1])
if owner == '' then return 'over' end
if not owner then owner = redis.call('GET', KEYS[2]) end
if owner == ARGV[1] then return 'ours' end
if owner and owner ~= '' then
  redis.call('XADD', ARGV[7] .. owner, 'MAXLEN', '~', ARGV[8], '*', 'text', ARGV[2])
  redis.call('PEXPIRE', ARGV[7] .. owner, ARGV[9])
  return 'sent'
end
if ARGV[3] == 'dropped' then return ARGV[3] end
redis.call('RPUSH', KEYS[3], ARGV[2])
redis.call('LTRIM', KEYS[3], -ARGV[6], -1)
redis.call('PEXPIRE', KEYS[3], ARGV[5])
if ARGV[3] == 'buried' then redis.call('SET', KEYS[1], '', 'PX', ARGV[4]) end
return ARGV[3]
"""

SEND = """
-- KEYS: nodes, inbox. ARGV: node, letter, letters to keep, ms to keep.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 'text', ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return 1
"""

TAKE_OVER = """
-- KEYS: nodes, its calls, its inbox, our calls, our inbox.
-- ARGV: its name, its beats, our name, ms to keep, prefix of calls' keys.
local standing = redis.call('HGET', KEYS[1], ARGV[1])
if not standing or cjson.decode(standing)[1] ~= tonumber(ARGV[2]) then return {} end
local calls = redis.call('HGETALL', KEYS[2])
local taken = {}
for i = 1, #calls, 2 do
  if redis.call('GET', ARGV[5] .. calls[i]) == ARGV[1] then
    redis.call('SET', ARGV[5] .. calls[i], ARGV[3], 'PX', ARGV[4])
    redis.call('HSET', KEYS[4], calls[i], calls[i + 1])
    table.insert(taken, calls[i])
    table.insert(taken, calls[i + 1])
  end
end
for _, letter in ipairs(redis.call('XRANGE', KEYS[3], '-', '+')) do
  redis.call('XADD', KEYS[5], '*', unpack(letter[2]))
end
redis.call('PEXPIRE', KEYS[4], ARGV[4])
redis.call('PEXPIRE', KEYS[5], ARGV[4])
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2], KEYS[3])
return taken
"""

LEAVE = """
-- KEYS: nodes, inbox, calls. ARGV: node.
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[3])
local letters = redis.call('XRANGE', KEYS[2], '-', '+')
if #letters == 0 then redis.call('DEL', KEYS[2]) end
return letters
"""
