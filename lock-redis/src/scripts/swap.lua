-- Replaces the cell if it is at the expected version: 1 if it was, 0 if not. Versions are compared as
-- the text that they are, because a number of Lua loses digits on its way to text.
local version = redis.call('HGET', KEYS[1], 'version')
if version ~= ARGV[1] then
  -- '0' is no cell at all: nothing else may be there by that name.
  if version or ARGV[1] ~= '0' or redis.call('EXISTS', KEYS[1]) == 1 then
    return 0
  end
end
-- Where there is no memory left, only by what is not larger: else -1.
if ARGV[5] == 'shrink' and #ARGV[3] > redis.call('HSTRLEN', KEYS[1], 'data') then
  return -1
end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'data', ARGV[3])
-- Who waits is told. If that is not allowed, they find out by themselves: the swap is done.
redis.pcall('PUBLISH', ARGV[4], ARGV[2])
return 1
