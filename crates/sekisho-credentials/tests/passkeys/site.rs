//! What the tests share: a site, its people, and their authenticators.

use sekisho_core::{Secret, UnixSeconds};
use sekisho_credentials::testing::authenticator::{SoftAuthenticator, SoftRegistration};
use sekisho_credentials::{
    AccountId, CeremonyTicket, ClientContext, LoginOutcome, Passkey, PasskeyCeremony, PasskeyChallenge, PasskeyError,
    PasskeyReject, Passkeys, RelyingParty,
};

use crate::world::{NOW, World};

pub(crate) const ORIGIN: &str = "https://login.example.com";

pub(crate) fn party() -> RelyingParty {
    RelyingParty::new("example.com", "Example", [ORIGIN, "https://example.com:8443"]).unwrap()
}

pub(crate) fn browser() -> Secret {
    Secret::from("the cookie of this browser")
}

pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) passkeys: Passkeys,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with(World::new(), party())
    }

    pub(crate) fn with(world: World, party: RelyingParty) -> Self {
        Self { passkeys: world.credentials.passkeys(party), world }
    }

    /// The same people, with other rules.
    pub(crate) fn under(&self, party: RelyingParty) -> Passkeys {
        self.world.credentials.passkeys(party)
    }

    pub(crate) async fn begin(&self, account: &AccountId, now: UnixSeconds) -> PasskeyCeremony {
        self.passkeys.begin_registration(account, &browser(), now).await.unwrap().unwrap()
    }

    pub(crate) async fn finish(
        &self,
        account: &AccountId,
        ticket: &CeremonyTicket,
        json: &[u8],
        now: UnixSeconds,
    ) -> Result<Passkey, PasskeyReject> {
        unless_broken(self.passkeys.finish_registration(account, &browser(), ticket, json, "blue key", now).await)
    }

    /// Registers a passkey, changed before it is sent.
    pub(crate) async fn try_register(
        &self,
        account: &AccountId,
        authenticator: &SoftAuthenticator,
        change: impl FnOnce(&mut SoftRegistration),
    ) -> Result<Passkey, PasskeyReject> {
        let ceremony = self.begin(account, NOW).await;
        let mut answer = authenticator.register(&ceremony.options, ORIGIN);
        change(&mut answer);
        self.finish(account, &ceremony.ticket, &answer.to_json(), NOW).await
    }

    pub(crate) async fn register(&self, account: &AccountId, authenticator: &SoftAuthenticator) -> Passkey {
        self.try_register(account, authenticator, |_| {}).await.unwrap()
    }

    /// Somebody with a passkey.
    pub(crate) async fn sign_up(&self, name: &str) -> (AccountId, SoftAuthenticator) {
        let account = self.world.sign_up(name).await;
        let authenticator = SoftAuthenticator::new();
        self.register(&account, &authenticator).await;
        (account, authenticator)
    }

    pub(crate) fn begin_login(&self, username: Option<&str>, now: UnixSeconds) -> PasskeyCeremony {
        self.passkeys.begin_login(username, &browser(), now).unwrap()
    }

    /// From no address that is known, so that a test may be refused as often as it likes.
    pub(crate) async fn finish_login(&self, ticket: &CeremonyTicket, json: &[u8], now: UnixSeconds) -> LoginOutcome {
        self.passkeys.finish_login(&browser(), ticket, json, ClientContext::default(), now).await.unwrap()
    }

    pub(crate) async fn log_in(&self, account: &AccountId, authenticator: &SoftAuthenticator) -> LoginOutcome {
        let ceremony = self.begin_login(None, NOW);
        let answer = authenticator.log_in(&ceremony.options, ORIGIN, account.as_str());
        self.finish_login(&ceremony.ticket, &answer.to_json(authenticator), NOW).await
    }
}

pub(crate) fn unless_broken(done: Result<Passkey, PasskeyError>) -> Result<Passkey, PasskeyReject> {
    done.map_err(|error| match error {
        PasskeyError::Refused(reason) => reason,
        other => panic!("{other}"),
    })
}

pub(crate) fn challenge() -> PasskeyChallenge {
    PasskeyChallenge::from_bytes([7; 32])
}

/// Options for [`challenge`], as far as authenticators read them.
pub(crate) fn options() -> String {
    let challenge = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";
    format!(r#"{{"challenge":"{challenge}","rp":{{"id":"example.com"}},"rpId":"example.com"}}"#)
}
