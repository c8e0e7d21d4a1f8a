//! A cluster by its members: who is master of what, and slots that are moved.

use std::collections::BTreeMap;

use crate::control::Direct;
use crate::setup::password_and_address;

/// Is a member that was a master when it was asked.
#[derive(Clone, Debug)]
pub(crate) struct Master {
    pub(crate) url: String,
    /// As the servers' control calls it.
    pub(crate) name: String,
    pub(crate) id: String,
}

/// Returns the masters. A member that is dead or just changing is left out.
pub(crate) fn masters(urls: &str) -> Vec<Master> {
    let read = |(index, url): (usize, &str)| {
        let mut direct = Direct::reach(url)?;
        let role: Vec<redis::Value> = direct.ask(&[b"ROLE"]).ok()?;
        let id: String = direct.ask(&[b"CLUSTER", b"MYID"]).ok()?;
        let is_master = role.first() == Some(&redis::Value::BulkString(b"master".to_vec()));
        is_master.then(|| Master { url: url.to_owned(), name: format!("redis-cluster-{}", index + 1), id })
    };
    urls.split(' ').enumerate().filter_map(read).collect()
}

/// A replica gets nothing more from its master, which goes on; both see each other as members. Until this is dropped.
pub(crate) struct Deaf {
    replica: String,
    password: String,
}

impl Deaf {
    /// Returns `None` when the master has no replica.
    pub(crate) fn replica_of(urls: &str, master: &Master) -> Option<Self> {
        let (password, address) = password_and_address(&master.url);
        let port: i64 = address.rsplit_once(':')?.1.parse().ok()?;
        let is_replica = |url: &&str| {
            let role: Option<Vec<redis::Value>> = Direct::reach(url).and_then(|mut direct| direct.ask(&[b"ROLE"]).ok());
            role.is_some_and(|role| role.get(2) == Some(&redis::Value::Int(port)))
        };
        let replica = urls.split(' ').find(is_replica)?.to_owned();
        let deaf = Self { replica, password: password.to_owned() };
        deaf.set("not the password");
        let _: u32 = Direct::to(&master.url).must(&[b"CLIENT", b"KILL", b"TYPE", b"replica"]);
        Some(deaf)
    }

    fn set(&self, password: &str) {
        let () = Direct::to(&self.replica).must(&[b"CONFIG", b"SET", b"masterauth", password.as_bytes()]);
    }
}

impl Drop for Deaf {
    fn drop(&mut self) {
        self.set(&self.password);
    }
}

/// Returns the keys of a prefix by their slot, with the master that has them.
pub(crate) fn slots(masters: &[Master], prefix: &str) -> BTreeMap<u16, (usize, Vec<String>)> {
    let mut slots: BTreeMap<u16, (usize, Vec<String>)> = BTreeMap::new();
    for (index, master) in masters.iter().enumerate() {
        let mut direct = Direct::to(&master.url);
        for key in direct.keys(prefix) {
            let slot: u16 = direct.must(&[b"CLUSTER", b"KEYSLOT", key.as_bytes()]);
            slots.entry(slot).or_insert_with(|| (index, Vec::new())).1.push(key);
        }
    }
    slots
}

/// Is a slot on its way from one master to another.
pub(crate) struct Move<'m> {
    slot: String,
    from: &'m Master,
    to: &'m Master,
}

impl<'m> Move<'m> {
    pub(crate) fn begin(slot: u16, from: &'m Master, to: &'m Master) -> Self {
        let slot = slot.to_string();
        let () = Direct::to(&to.url).must(&[b"CLUSTER", b"SETSLOT", slot.as_bytes(), b"IMPORTING", from.id.as_bytes()]);
        let () = Direct::to(&from.url).must(&[b"CLUSTER", b"SETSLOT", slot.as_bytes(), b"MIGRATING", to.id.as_bytes()]);
        Self { slot, from, to }
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        Direct::to(&self.from.url).must(&[b"CLUSTER", b"GETKEYSINSLOT", self.slot.as_bytes(), b"1000"])
    }

    /// Moves one key. `how`: `COPY` leaves it at its old place too, `REPLACE` is what tools do about such.
    pub(crate) fn key(&self, key: &str, how: &[&str]) {
        let (password, address) = password_and_address(&self.to.url);
        let (host, port) = address.split_once(':').expect("a port");
        let mut words = vec!["MIGRATE", host, port, key, "0", "5000"];
        words.extend(how);
        words.extend(["AUTH2", "default", password]);
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let _: redis::Value = Direct::to(&self.from.url).must(&words);
    }

    pub(crate) fn end(self) {
        for key in self.keys() {
            self.key(&key, &["REPLACE"]);
        }
        for url in [&self.to.url, &self.from.url] {
            let () =
                Direct::to(url).must(&[b"CLUSTER", b"SETSLOT", self.slot.as_bytes(), b"NODE", self.to.id.as_bytes()]);
        }
    }
}
