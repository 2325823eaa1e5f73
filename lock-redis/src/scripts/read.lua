#!lua flags=allow-oom
-- The cell: its fields and values. It could write, and so is refused wherever a swap would be: a
-- replica, or a server that has lost its replicas, may know less than others.
return redis.call('HGETALL', KEYS[1])
