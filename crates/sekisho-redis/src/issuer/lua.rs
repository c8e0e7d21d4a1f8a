//! What the scripts of the issuer's stores share. Functions of Lua are no longer there when a script ends, so each brings its own.

/// Begins each script. ARGV[1] is now. What is longer than any of our records is not read.
macro_rules! prelude {
    () => {
        "\
local now = tonumber(ARGV[1])
local function read(key, name)
  if redis.call('HSTRLEN', key, name) > 65536 then error('too large') end
  return redis.call('HGET', key, name)
end
local function number(key, name)
  local text = read(key, name)
  if not text then return nil end
  return tonumber(text) or error('not a number')
end
local function lives(key, name)
  local ends = number(key, name)
  return ends ~= nil and now < ends
end
local function enter(index, entry, seconds)
  local time = tonumber(redis.call('TIME')[1])
  redis.call('ZADD', index, time + seconds, entry)
  redis.call('ZREMRANGEBYSCORE', index, '-inf', time)
  if redis.call('TTL', index) < seconds then redis.call('EXPIRE', index, seconds + 1) end
end
local function has_room(index)
  local time = redis.call('TIME')[1]
  return redis.call('ZCOUNT', index, '(' .. time, '+inf') < 10000
end
"
    };
}

/// Asks for leave to write, in scripts that only read, by a change that never changes anything: a master that was cut off from its replicas and
/// is told to have some (`min-replicas-to-write`) may not have heard what was revoked, and refuses.
///
/// Not in scripts that write: after the first change they are not stopped any more by a memory that is full.
macro_rules! leave {
    () => {
        "redis.call('EXPIRE', KEYS[1], 1, 'GT')\n"
    };
}

/// Adds the function that keeps a grant: KEYS 1 to 3, and ARGV 2 to 5, as [`KeptGrant`](super::KeptGrant) has them.
macro_rules! keep_grant {
    () => {
        "\
local function keep_grant()
  local seconds = tonumber(ARGV[5])
  redis.call('HSET', KEYS[1], 'record', ARGV[3], 'end', ARGV[4])
  redis.call('EXPIRE', KEYS[1], seconds)
  enter(KEYS[2], ARGV[2], seconds)
  if KEYS[3] ~= KEYS[2] then enter(KEYS[3], ARGV[2], seconds) end
end
local function grant_has_room() return has_room(KEYS[2]) and has_room(KEYS[3]) end
"
    };
}
