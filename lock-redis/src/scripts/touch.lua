#!lua flags=allow-oom
-- Writes what is there already: what replicas have of it after this, they have of all before.
local version = redis.call('HGET', KEYS[1], 'version')
if version then
  redis.call('HSET', KEYS[1], 'version', version)
end
