use sekisho_core::{Failure, UnixSeconds};

use super::Credentials;
use crate::client::prefix;
use crate::random::to_base64;
use crate::{AccountId, Admission, ClientContext, Counter, CounterKey, DelayCurve, SourceHash};

/// Is an attempt that counts as failed until it is settled.
pub(super) struct Attempt {
    /// Forgiven once by a success: others' failures stay.
    shared: Vec<Counter>,
    /// Forgotten by a success.
    own: Vec<Counter>,
}

impl Attempt {
    fn keys(counters: &[Counter]) -> Vec<CounterKey> {
        counters.iter().map(|counter| counter.key).collect()
    }
}

/// What is known of where an attempt comes from.
#[derive(Clone, Copy)]
struct Known<'a> {
    device: Option<&'a SourceHash>,
    is_address: bool,
}

impl Credentials {
    /// Counts an attempt at a password. `name` is what the account is called, or what was typed; `account` is the
    /// account if there is one.
    pub(super) async fn begin_password(
        &self,
        name: &[u8],
        account: Option<&AccountId>,
        client: ClientContext<'_>,
        now: UnixSeconds,
    ) -> Result<Result<Attempt, std::time::Duration>, Failure> {
        // Nobody's account is looked up like any other, so that it costs the same.
        let nobody = AccountId::parse(&to_base64(&self.shared.keys.tag("nobody", &[name])));
        let device = client.device.map(|device| device.source());
        let known = match account.or(nobody.as_ref()) {
            Some(account) => self.known(account, device.as_ref(), client, now).await?,
            None => Known { device: None, is_address: false },
        };
        let throttle = &self.shared.throttle;
        let (mut own, mut shared) = (Vec::new(), Vec::new());
        if let Some(device) = known.device {
            own.push(self.counter("password device", &[name, device.as_bytes()], throttle.device));
        } else {
            if let Some(address) = client.address {
                own.push(self.counter("password pair", &[name, &prefix(address, 64)], throttle.pair));
                shared.push(self.counter("password address", &[&prefix(address, 48)], throttle.address));
            }
            if !known.is_address {
                shared.push(self.counter("password account", &[name], throttle.account));
            }
        }
        self.begin(Attempt { shared, own }, now).await
    }

    /// Counts an attempt with a passkey, which counts for its address as a password does, unless the device is known. `account` is whose
    /// passkey was named, if somebody's was.
    #[cfg(feature = "passkeys")]
    pub(super) async fn begin_passkey(
        &self,
        account: Option<&AccountId>,
        client: ClientContext<'_>,
        now: UnixSeconds,
    ) -> Result<Result<Attempt, std::time::Duration>, Failure> {
        let throttle = &self.shared.throttle;
        let mut attempt = Attempt { shared: Vec::new(), own: Vec::new() };
        if let (Some(account), Some(device)) = (account, client.device.map(|device| device.source()))
            && !self.shared.store.known_sources(account, &[device], now).await?.is_empty()
        {
            let parts = [account.as_str().as_bytes(), device.as_bytes()];
            attempt.own.push(self.counter("passkey device", &parts, throttle.device));
        }
        if let Some(address) = client.address.filter(|_| attempt.own.is_empty()) {
            attempt.shared.push(self.counter("password address", &[&prefix(address, 48)], throttle.address));
        }
        self.begin(attempt, now).await
    }

    /// Counts an attempt at a second factor, which only those who gave the password come to.
    pub(super) async fn begin_second_factor(
        &self,
        account: &AccountId,
        client: ClientContext<'_>,
        now: UnixSeconds,
    ) -> Result<Result<Attempt, std::time::Duration>, Failure> {
        let device = client.device.map(|device| device.source());
        let known = self.known(account, device.as_ref(), client, now).await?;
        let curve = self.shared.throttle.second_factor;
        let account = account.as_str().as_bytes();
        let attempt = match (known.device, client.address.filter(|_| known.is_address)) {
            (Some(device), _) => {
                let own = self.counter("second factor", &[account, device.as_bytes()], curve);
                Attempt { shared: Vec::new(), own: vec![own] }
            }
            (None, Some(address)) => {
                let own = self.counter("second factor address", &[account, &prefix(address, 64)], curve);
                Attempt { shared: Vec::new(), own: vec![own] }
            }
            // Everywhere else: a success of the owner must not give whoever has stolen the password new guesses.
            (None, None) => {
                Attempt { shared: vec![self.counter("second factor", &[account, &[]], curve)], own: Vec::new() }
            }
        };
        self.begin(attempt, now).await
    }

    /// Takes an attempt back that came to nothing because our side broke.
    pub(super) async fn undo(&self, attempt: &Attempt) {
        let keys = Attempt::keys(&[&attempt.shared[..], &attempt.own].concat());
        if let Err(failure) = self.shared.store.forgive(&keys, &[]).await {
            tracing::warn!(%failure, "an attempt that was not made stays counted");
        }
    }

    /// Settles an attempt that succeeded.
    pub(super) async fn succeed(&self, attempt: &Attempt) -> Result<(), Failure> {
        self.shared.store.forgive(&Attempt::keys(&attempt.shared), &Attempt::keys(&attempt.own)).await
    }

    /// Returns what stands for an address in the store: a keyed hash, for addresses can be guessed.
    pub(super) fn address_source(&self, account: &AccountId, client: ClientContext<'_>) -> Option<SourceHash> {
        let parts = |address| self.shared.keys.tag("source", &[account.as_str().as_bytes(), &prefix(address, 64)]);
        client.address.map(|address| SourceHash::from_bytes(parts(address)))
    }

    async fn begin(&self, attempt: Attempt, now: UnixSeconds) -> Result<Result<Attempt, std::time::Duration>, Failure> {
        self.prune_sometimes(now).await;
        let counters = [&attempt.shared[..], &attempt.own].concat();
        Ok(match self.shared.store.begin_attempt(&counters, now).await? {
            Admission::Admitted => Ok(attempt),
            Admission::Wait(wait) => {
                tracing::info!(wait_secs = wait.as_secs(), "an attempt was refused for too many before it");
                Err(wait)
            }
        })
    }

    async fn known<'a>(
        &self,
        account: &AccountId,
        device: Option<&'a SourceHash>,
        client: ClientContext<'_>,
        now: UnixSeconds,
    ) -> Result<Known<'a>, Failure> {
        let address = self.address_source(account, client);
        let asked: Vec<SourceHash> = device.copied().into_iter().chain(address).collect();
        let known = self.shared.store.known_sources(account, &asked, now).await?;
        Ok(Known {
            device: device.filter(|device| known.contains(device)),
            is_address: address.is_some_and(|address| known.contains(&address)),
        })
    }

    fn counter(&self, purpose: &str, parts: &[&[u8]], curve: DelayCurve) -> Counter {
        Counter { key: CounterKey::from_bytes(self.shared.keys.tag(purpose, parts)), curve }
    }
}
