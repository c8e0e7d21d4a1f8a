//! Removes all that an index lists.
//!
//! In two steps, for each key that a script touches must be named beforehand. One that a script finds by itself is taken for gone
//! by a server of a cluster to which the slot is on its way and the key is not there yet; it would come later, and live again. Of
//! keys that are named, such a server says that some are missing, and the call is a failure.

use crate::script::{Call, Script};

/// Bounds what is listed; more is not ours.
pub(super) const MOST_LISTED: u64 = 20_000;
/// How many keys go in one call.
pub(super) const AT_ONCE: usize = 500;

/// Names what is to be removed: keys, and what stands for each in the index.
pub(super) fn remove_listed<'s, 'e>(
    script: &'s Script,
    index: &str,
    listed: impl Iterator<Item = (String, &'e str)>,
) -> Call<'s> {
    listed.fold(script.on(index), |call, (key, entry)| call.key(key).arg(entry))
}

/// KEYS: an index. ARGV: how many at most.
///
/// It asks for leave to write, as all that only read.
pub(super) const LIST: &str = concat!(
    leave!(),
    "\
if redis.call('ZCARD', KEYS[1]) > tonumber(ARGV[1]) then return redis.error_reply('TOOLARGE an index') end
return redis.call('ZRANGE', KEYS[1], 0, -1)"
);

/// KEYS: an index, and what is to be removed. ARGV: the entries of that.
pub(super) const REMOVE_LISTED: &str = "\
for number = 2, #KEYS do redis.call('DEL', KEYS[number]) end
redis.call('ZREM', KEYS[1], unpack(ARGV))
return 1";
