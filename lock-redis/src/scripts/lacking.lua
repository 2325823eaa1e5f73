#!lua flags=allow-oom
-- Which commands of a swap this user may not call on the cell. The server is only asked: none is called.
local commands = {
  {'hget', KEYS[1], 'version'},
  {'exists', KEYS[1]},
  {'hset', KEYS[1], 'version', '1', 'data', ''},
}
local lacking = {}
for _, command in ipairs(commands) do
  if not redis.acl_check_cmd(unpack(command)) then
    table.insert(lacking, command[1])
  end
end
return lacking
