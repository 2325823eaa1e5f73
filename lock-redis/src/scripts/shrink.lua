#!lua flags=allow-oom
-- As the swap, for a server that has no memory left: only what is not larger may take the place of
-- what is there. -1 if it is larger.
local version = redis.call('HGET', KEYS[1], 'version')
if version ~= ARGV[1] then
  return 0
end
if #ARGV[3] > redis.call('HSTRLEN', KEYS[1], 'data') then
  return -1
end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'data', ARGV[3])
redis.pcall('PUBLISH', ARGV[4], ARGV[2])
return 1
