use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::{Failure, UnixSeconds};

use crate::{
    Account, AccountId, AccountStore, Admission, ChallengeUse, Counter, CounterKey, FactorStore, Passkey,
    PasskeyAddition, PasskeyStore, PasskeyUse, PasswordHash, RecoveryHash, SourceHash, ThrottleStore, TotpRecord,
    TotpRecords, Username,
};

/// Keeps everything in the memory of one process, behind one lock: for tests and for trying things out.
///
/// Nothing survives the process, and accounts are not bounded; counters are, as with every store, by pruning.
#[derive(Default)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    accounts: HashMap<AccountId, Entry>,
    counters: HashMap<CounterKey, Count>,
    passkeys: BTreeMap<Vec<u8>, Passkey>,
    challenges: Challenges,
}

/// Marks of used challenges, so kept that a call looks only at those that have ended.
#[derive(Default)]
struct Challenges {
    all: HashMap<[u8; 32], AccountId>,
    by_end: BTreeSet<(UnixSeconds, [u8; 32])>,
    of_account: HashMap<AccountId, u32>,
}

struct Entry {
    account: Account,
    totp: TotpRecords,
    codes: BTreeSet<RecoveryHash>,
    sources: HashMap<SourceHash, UnixSeconds>,
}

struct Count {
    failures: u32,
    last_at: UnixSeconds,
    forgotten_at: UnixSeconds,
}

impl Challenges {
    fn mark(
        &mut self,
        id: &AccountId,
        challenge: &[u8; 32],
        ends_at: UnixSeconds,
        most: u32,
        now: UnixSeconds,
    ) -> ChallengeUse {
        while let Some(first) = self.by_end.first().copied().filter(|(ends_at, _)| *ends_at <= now) {
            self.by_end.remove(&first);
            self.forget(&first.1);
        }
        if self.all.contains_key(challenge) {
            return ChallengeUse::Again;
        }
        let count = self.of_account.entry(id.clone()).or_default();
        if *count >= most {
            return ChallengeUse::TooMany;
        }
        *count += 1;
        self.all.insert(*challenge, id.clone());
        self.by_end.insert((ends_at, *challenge));
        ChallengeUse::First
    }

    fn forget(&mut self, challenge: &[u8; 32]) {
        let Some(id) = self.all.remove(challenge) else { return };
        let left = self.of_account.get(&id).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            self.of_account.remove(&id);
        } else {
            self.of_account.insert(id, left);
        }
    }
}

impl MemoryStore {
    /// Makes an empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // No code below leaves a table half changed where it could panic.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes an account's entry; `false` when there is none or `change` says so.
    fn change(&self, id: &AccountId, change: impl FnOnce(&mut Entry) -> bool) -> Result<bool, Failure> {
        Ok(self.tables().accounts.get_mut(id).is_some_and(change))
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryStore")
    }
}

#[async_trait]
impl AccountStore for MemoryStore {
    async fn create_account(&self, account: &Account) -> Result<bool, Failure> {
        let mut tables = self.tables();
        let is_taken = |entry: &Entry| entry.account.username == account.username;
        if tables.accounts.contains_key(&account.id) || tables.accounts.values().any(is_taken) {
            return Ok(false);
        }
        let entry = Entry {
            account: account.clone(),
            totp: TotpRecords::default(),
            codes: BTreeSet::new(),
            sources: HashMap::new(),
        };
        tables.accounts.insert(account.id.clone(), entry);
        Ok(true)
    }

    async fn account(&self, id: &AccountId) -> Result<Option<Account>, Failure> {
        Ok(self.tables().accounts.get(id).map(|entry| entry.account.clone()))
    }

    async fn account_by_name(&self, username: &Username) -> Result<Option<Account>, Failure> {
        let tables = self.tables();
        let mut accounts = tables.accounts.values().map(|entry| &entry.account);
        Ok(accounts.find(|account| account.username == *username).cloned())
    }

    async fn replace_password(
        &self,
        id: &AccountId,
        revision: u64,
        password: &PasswordHash,
        now: UnixSeconds,
    ) -> Result<bool, Failure> {
        self.change(id, |Entry { account, sources, .. }| {
            let is_same = account.revision == revision;
            if is_same {
                account.password = Some(password.clone());
                account.revision += 1;
                end_logins(account, now);
                sources.clear();
            }
            is_same
        })
    }

    async fn upgrade_password(&self, id: &AccountId, revision: u64, password: &PasswordHash) -> Result<bool, Failure> {
        self.change(id, |Entry { account, .. }| {
            let is_same = account.revision == revision;
            if is_same {
                account.password = Some(password.clone());
            }
            is_same
        })
    }

    async fn set_disabled(&self, id: &AccountId, is_disabled: bool, now: UnixSeconds) -> Result<bool, Failure> {
        self.change(id, |Entry { account, .. }| {
            account.is_disabled = is_disabled;
            if is_disabled {
                account.revision += 1;
                end_logins(account, now);
            }
            true
        })
    }

    async fn delete_account(&self, id: &AccountId) -> Result<bool, Failure> {
        let mut tables = self.tables();
        tables.passkeys.retain(|_, passkey| passkey.account != *id);
        Ok(tables.accounts.remove(id).is_some())
    }
}

#[async_trait]
impl FactorStore for MemoryStore {
    async fn begin_totp(&self, id: &AccountId, record: &TotpRecord) -> Result<bool, Failure> {
        self.change(id, |entry| {
            entry.totp.pending = Some(record.clone());
            true
        })
    }

    async fn totp(&self, id: &AccountId) -> Result<TotpRecords, Failure> {
        Ok(self.tables().accounts.get(id).map(|entry| entry.totp.clone()).unwrap_or_default())
    }

    async fn confirm_totp(&self, id: &AccountId, enrolment: &[u8; 16], counter: u64) -> Result<bool, Failure> {
        self.change(id, |Entry { totp, .. }| {
            let Some(record) = totp.pending.take_if(|record| record.enrolment == *enrolment) else { return false };
            totp.confirmed = Some(TotpRecord { last_counter: Some(counter), ..record });
            true
        })
    }

    async fn use_totp(&self, id: &AccountId, enrolment: &[u8; 16], counter: u64) -> Result<bool, Failure> {
        self.change(id, |Entry { totp, .. }| {
            let confirmed = totp.confirmed.as_mut().filter(|record| record.enrolment == *enrolment);
            let Some(record) = confirmed else { return false };
            let is_unused = record.last_counter.is_none_or(|last| last < counter);
            if is_unused {
                record.last_counter = Some(counter);
            }
            is_unused
        })
    }

    async fn reseal_totp(&self, id: &AccountId, enrolment: &[u8; 16], sealed: &[u8]) -> Result<bool, Failure> {
        self.change(id, |Entry { totp, .. }| {
            let confirmed = totp.confirmed.as_mut().filter(|record| record.enrolment == *enrolment);
            confirmed.map(|record| record.sealed = sealed.to_vec()).is_some()
        })
    }

    async fn drop_pending_totp(&self, id: &AccountId, enrolment: &[u8; 16]) -> Result<bool, Failure> {
        self.change(id, |Entry { totp, .. }| totp.pending.take_if(|record| record.enrolment == *enrolment).is_some())
    }

    async fn remove_factors(&self, id: &AccountId, now: UnixSeconds) -> Result<bool, Failure> {
        self.change(id, |Entry { account, totp, codes, .. }| {
            let had = totp.confirmed.is_some() || totp.pending.is_some() || !codes.is_empty();
            if had {
                end_logins(account, now);
            }
            *totp = TotpRecords::default();
            codes.clear();
            had
        })
    }

    async fn replace_recovery_codes(&self, id: &AccountId, codes: &[RecoveryHash]) -> Result<bool, Failure> {
        self.change(id, |entry| {
            entry.codes = codes.iter().copied().collect();
            true
        })
    }

    async fn take_recovery_code(&self, id: &AccountId, code: &RecoveryHash) -> Result<bool, Failure> {
        self.change(id, |entry| entry.codes.remove(code))
    }

    async fn recovery_codes_left(&self, id: &AccountId) -> Result<u32, Failure> {
        let count = self.tables().accounts.get(id).map_or(0, |entry| entry.codes.len());
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }
}

#[async_trait]
impl ThrottleStore for MemoryStore {
    async fn begin_attempt(&self, counters: &[Counter], now: UnixSeconds) -> Result<Admission, Failure> {
        let mut tables = self.tables();
        let wait = |counter: &Counter| {
            let count = tables.counters.get(&counter.key);
            count.map_or(Duration::ZERO, |count| counter.curve.wait(count.failures, count.last_at, now))
        };
        let wait = counters.iter().map(wait).max().unwrap_or_default();
        if !wait.is_zero() {
            return Ok(Admission::Wait(wait));
        }
        for Counter { key, curve } in counters {
            let new = Count { failures: 0, last_at: now, forgotten_at: now };
            let count = tables.counters.entry(*key).or_insert(new);
            count.failures = curve.remembered(count.failures, count.last_at, now).saturating_add(1);
            count.last_at = count.last_at.max(now);
            count.forgotten_at = curve.forgotten_at(count.last_at);
        }
        Ok(Admission::Admitted)
    }

    async fn forgive(&self, one: &[CounterKey], all: &[CounterKey]) -> Result<(), Failure> {
        let mut tables = self.tables();
        for key in one {
            if let Some(count) = tables.counters.get_mut(key) {
                count.failures = count.failures.saturating_sub(1);
            }
        }
        for key in all {
            tables.counters.remove(key);
        }
        Ok(())
    }

    async fn prune_counters(&self, most: u64, now: UnixSeconds) -> Result<u64, Failure> {
        let mut tables = self.tables();
        let before = tables.counters.len();
        tables.counters.retain(|_, count| count.forgotten_at > now && count.failures > 0);
        let excess = tables.counters.len().saturating_sub(usize::try_from(most).unwrap_or(usize::MAX));
        if excess > 0 {
            let mut all: Vec<_> = tables.counters.iter().map(|(key, c)| (c.failures, c.last_at, *key)).collect();
            all.sort_unstable();
            for (_, _, key) in all.iter().take(excess) {
                tables.counters.remove(key);
            }
        }
        Ok((before - tables.counters.len()) as u64)
    }

    async fn known_sources(
        &self,
        id: &AccountId,
        sources: &[SourceHash],
        now: UnixSeconds,
    ) -> Result<Vec<SourceHash>, Failure> {
        let tables = self.tables();
        let Some(entry) = tables.accounts.get(id) else { return Ok(Vec::new()) };
        let is_known = |source: &&SourceHash| entry.sources.get(*source).is_some_and(|until| now < *until);
        Ok(sources.iter().filter(is_known).copied().collect())
    }

    async fn remember_source(
        &self,
        id: &AccountId,
        revision: u64,
        source: &SourceHash,
        until: UnixSeconds,
        most: u32,
    ) -> Result<bool, Failure> {
        self.change(id, |Entry { account, sources, .. }| {
            if account.revision != revision {
                return false;
            }
            let kept = sources.entry(*source).or_insert(until);
            *kept = until.max(*kept);
            while sources.len() > most as usize {
                let Some(first) = sources.iter().map(|(source, until)| (*until, *source)).min() else { break };
                sources.remove(&first.1);
            }
            true
        })
    }

    async fn forget_source(&self, id: &AccountId, source: &SourceHash) -> Result<(), Failure> {
        self.change(id, |entry| entry.sources.remove(source).is_some()).map(drop)
    }

    async fn forget_sources(&self, id: &AccountId) -> Result<(), Failure> {
        self.change(id, |entry| {
            entry.sources.clear();
            true
        })
        .map(drop)
    }
}

#[async_trait]
impl PasskeyStore for MemoryStore {
    async fn add_passkey(&self, passkey: &Passkey, revision: u64, most: u32) -> Result<PasskeyAddition, Failure> {
        let mut tables = self.tables();
        let account = tables.accounts.get(&passkey.account).map(|entry| &entry.account);
        if account.is_none_or(|account| account.is_disabled || account.revision != revision) {
            return Ok(PasskeyAddition::Overtaken);
        }
        if tables.passkeys.values().filter(|has| has.account == passkey.account).count() >= most as usize {
            return Ok(PasskeyAddition::TooMany);
        }
        if tables.passkeys.contains_key(&passkey.credential_id) {
            return Ok(PasskeyAddition::Taken);
        }
        tables.passkeys.insert(passkey.credential_id.clone(), passkey.clone());
        Ok(PasskeyAddition::Added)
    }

    async fn passkey(&self, credential_id: &[u8]) -> Result<Option<Passkey>, Failure> {
        Ok(self.tables().passkeys.get(credential_id).cloned())
    }

    async fn passkeys(&self, id: &AccountId) -> Result<Vec<Passkey>, Failure> {
        let tables = self.tables();
        let mut passkeys: Vec<_> = tables.passkeys.values().filter(|passkey| passkey.account == *id).cloned().collect();
        passkeys.sort_by_key(|passkey| passkey.created_at);
        Ok(passkeys)
    }

    async fn use_passkey(&self, credential_id: &[u8], from: u32, used: PasskeyUse) -> Result<bool, Failure> {
        let mut tables = self.tables();
        let Some(passkey) = tables.passkeys.get_mut(credential_id).filter(|passkey| passkey.sign_count == from) else {
            return Ok(false);
        };
        let PasskeyUse { sign_count, is_backed_up, at } = used;
        (passkey.sign_count, passkey.is_backed_up, passkey.last_used_at) = (sign_count, is_backed_up, Some(at));
        Ok(true)
    }

    async fn use_challenge(
        &self,
        id: &AccountId,
        challenge: &[u8; 32],
        ends_at: UnixSeconds,
        most: u32,
        now: UnixSeconds,
    ) -> Result<ChallengeUse, Failure> {
        Ok(self.tables().challenges.mark(id, challenge, ends_at, most, now))
    }

    async fn remove_passkey(&self, id: &AccountId, credential_id: &[u8], now: UnixSeconds) -> Result<bool, Failure> {
        let mut tables = self.tables();
        if tables.passkeys.get(credential_id).is_none_or(|passkey| passkey.account != *id) {
            return Ok(false);
        }
        tables.passkeys.remove(credential_id);
        if let Some(entry) = tables.accounts.get_mut(id) {
            end_logins(&mut entry.account, now);
        }
        Ok(true)
    }

    async fn remove_passkeys(&self, id: &AccountId, now: UnixSeconds) -> Result<u64, Failure> {
        let mut tables = self.tables();
        let before = tables.passkeys.len();
        tables.passkeys.retain(|_, passkey| passkey.account != *id);
        let count = before - tables.passkeys.len();
        if let Some(entry) = tables.accounts.get_mut(id).filter(|_| count > 0) {
            end_logins(&mut entry.account, now);
        }
        Ok(count as u64)
    }
}

fn end_logins(account: &mut Account, now: UnixSeconds) {
    account.logins_ended_at = account.logins_ended_at.max(Some(now));
}
