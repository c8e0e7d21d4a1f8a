//! The scripts of the session store. Each names one key, so that a cluster serves it while slots move, too.
//!
//! Their first line makes Redis check before they run: none runs on a replica or on a master that has fewer replicas than it must have
//! (`min-replicas-to-write`), also not one that only reads, for such a master may not have heard what was ended. Those that keep
//! nothing new run when the memory is full (`allow-oom`): who logs out is logged out.
//!
//! Numbers of 64 bits come as bytes, big end first, and versions are compared as such: Lua counts in floating point. It compares text
//! by the locale, so ends are compared as numbers; those beyond 2^53 s are about as late as each other.

/// Reads what stands under KEYS[1]: a session, what is left of one that was ended, or nothing. ARGV[1] is now.
macro_rules! prelude {
    () => {
        "\
local now = tonumber(ARGV[1])
local head = redis.call('GETRANGE', KEYS[1], 0, 51)
local kind = string.sub(head, 1, 1)
if head == '' then
  if redis.call('EXISTS', KEYS[1]) == 1 then return redis.error_reply('WRONGTYPE no session') end
elseif not (kind == 'L' and #head == 52 or kind == 'E' and #head == 9) then
  return redis.error_reply('WRONGTYPE no session')
end
local function at(bytes, place)
  local high, low = struct.unpack('>I4I4', bytes, place)
  return high * 4294967296 + low
end
local function seconds(left) return string.format('%d', math.min(math.max(left, 0) + 60, 3162240000)) end
local tags, card = 0, 0
if kind == 'L' then
  tags, card = string.byte(head, 50), (struct.unpack('>I2', head, 51))
  if tags > 8 or card > 4096 then return redis.error_reply('WRONGTYPE no session') end
end
local is_alive = kind == 'L' and now < at(head, 10) and now < at(head, 18)
"
    };
}

/// KEYS: the session. ARGV: now, the record, for how many seconds.
pub(super) const CREATE: &str = concat!(
    "#!lua\n",
    prelude!(),
    "\
if is_alive or kind == 'E' and now < at(head, 2) then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1"
);

/// KEYS: the session. ARGV: how many bytes at most.
pub(super) const LOAD: &str = "\
#!lua flags=allow-oom
local record = redis.call('GETRANGE', KEYS[1], 0, ARGV[1])
if record ~= '' then return record end
if redis.call('EXISTS', KEYS[1]) == 1 then return redis.error_reply('WRONGTYPE no session') end
return false";

/// KEYS: the session. ARGV: now, the version before, the version after, idle end, end, the body, the insertion that the index knows until
/// the new end, or nothing.
///
/// Returns what must be in the index until the new end, first.
pub(super) const SAVE: &str = concat!(
    "#!lua\n",
    prelude!(),
    "\
if not is_alive then return 0 end
if string.sub(head, 2, 9) ~= ARGV[2] then return 2 end
local idle, covered, insertion = string.sub(head, 10, 17), string.sub(head, 26, 33), string.sub(head, 34, 49)
if at(ARGV[4], 1) > at(idle, 1) then idle = ARGV[4] end
if tags > 0 and at(ARGV[5], 1) > at(covered, 1) then
  if ARGV[7] ~= insertion then return {insertion, redis.call('GETRANGE', KEYS[1], 52, 51 + 32 * tags)} end
  covered = ARGV[5]
end
local rest = ''
if tags + card > 0 then rest = redis.call('GETRANGE', KEYS[1], 52, 51 + 32 * tags + card) end
local record = 'L' .. ARGV[3] .. idle .. ARGV[5] .. covered .. string.sub(head, 34) .. rest .. ARGV[6]
redis.call('SET', KEYS[1], record, 'EX', seconds(math.min(at(idle, 1), at(ARGV[5], 1)) - now))
return 1"
);

/// KEYS: the session. ARGV: now, idle end.
pub(super) const TOUCH: &str = concat!(
    "#!lua flags=allow-oom\n",
    prelude!(),
    "\
if not is_alive then return 0 end
if at(ARGV[2], 1) > at(head, 10) then
  redis.call('SETRANGE', KEYS[1], 9, ARGV[2])
  redis.call('EXPIRE', KEYS[1], seconds(math.min(at(ARGV[2], 1), at(head, 18)) - now))
end
return 1"
);

/// KEYS: the session. ARGV: now, the insertion that is meant or nothing.
///
/// What was ended before is written anew, without a change, so that who waits for replicas waits for it.
pub(super) const END: &str = concat!(
    "#!lua flags=allow-oom\n",
    prelude!(),
    "\
if kind == 'E' then
  local left = redis.call('PTTL', KEYS[1])
  if left > 0 then redis.call('PEXPIRE', KEYS[1], left) end
  return 0
end
if kind == '' or ARGV[2] ~= '' and ARGV[2] ~= string.sub(head, 34, 49) then return false end
local names = ''
if tags > 0 then names = redis.call('GETRANGE', KEYS[1], 52, 51 + 32 * tags) end
redis.call('SET', KEYS[1], 'E' .. string.sub(head, 18, 25), 'EX', seconds(at(head, 18) - now))
return {is_alive and 1 or 0, string.sub(head, 26, 33), string.sub(head, 34, 49), names}"
);

/// KEYS: the session. ARGV: now, the insertion that is meant.
///
/// Of one that was ended no more than that: replicas may not have it yet, so it stays where whoever ends it again finds it.
pub(super) const SHOW: &str = concat!(
    "#!lua flags=allow-oom\n",
    prelude!(),
    "\
if kind == 'E' then return 0 end
if kind ~= 'L' or ARGV[2] ~= string.sub(head, 34, 49) then return false end
local shown = ''
if card > 0 then shown = redis.call('GETRANGE', KEYS[1], 52 + 32 * tags, 51 + 32 * tags + card) end
return {is_alive and 1 or 0, string.sub(head, 10, 25), shown}"
);

/// KEYS: an index. ARGV: now, the entry, for how many seconds, how many at most.
///
/// An entry is over when both say so, who asks and Redis: one clock that is wrong makes nobody forget. What is there already is written
/// anew, without a change, so that who waits for replicas waits for it.
///
/// Returns whether there was room, and some entries of an index that is half full.
pub(super) const ENTER: &str = "\
#!lua
local past = math.max(math.min(tonumber(ARGV[1]), tonumber(redis.call('TIME')[1])) - 60, 0)
local edge = struct.pack('>I4I4', math.floor(past / 4294967296), past % 4294967296)
local count, most, some = redis.call('ZLEXCOUNT', KEYS[1], '[' .. edge, '+'), tonumber(ARGV[4]), {}
if count * 2 >= most then
  for _, entry in ipairs(redis.call('ZRANDMEMBER', KEYS[1], 8)) do
    if #entry == 56 then table.insert(some, entry) end
  end
end
if count >= most then return {0, some} end
local is_new = redis.call('ZADD', KEYS[1], 0, ARGV[2]) == 1
local over = redis.call('ZRANGEBYLEX', KEYS[1], '-', '(' .. edge, 'LIMIT', 0, 100)
if #over > 0 then redis.call('ZREM', KEYS[1], unpack(over)) end
local left, kept = redis.call('TTL', KEYS[1]), tonumber(ARGV[3])
if left < kept or not is_new then redis.call('EXPIRE', KEYS[1], string.format('%d', math.max(left, kept))) end
return {1, some}";

/// KEYS: an index. ARGV: where to begin, where to end or nothing, how many.
///
/// Returns the last entry that there is, and the page.
pub(super) const PAGE: &str = "\
#!lua flags=allow-oom
local last = ARGV[2]
if last == '' then
  local highest = redis.call('ZRANGE', KEYS[1], -1, -1)[1]
  if not highest then return {'', {}} end
  last = '[' .. highest
end
if #last ~= 57 then return redis.error_reply('WRONGTYPE no index') end
local page = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[1], last, 'LIMIT', 0, ARGV[3])
for _, entry in ipairs(page) do
  if #entry ~= 56 then return redis.error_reply('WRONGTYPE no index') end
end
return {last, page}";

/// KEYS: an index. ARGV: entries.
pub(super) const LEAVE: &str = "\
#!lua flags=allow-oom
return redis.call('ZREM', KEYS[1], unpack(ARGV))";
