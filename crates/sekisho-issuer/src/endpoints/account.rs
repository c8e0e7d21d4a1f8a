//! The pages on which users change their own account. Each change wants a form of ours in this very session, and the password again.

use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use sekisho_core::{Failure, Secret};
use sekisho_credentials::{
    Account, AccountId, Authenticated, ChangeError, DeviceToken, LoginOutcome, PasswordError, RecoveryCode, TotpSecret,
};

use super::authorize::Unusable;
use super::login::{self, LONGEST_CODE, LONGEST_PASSWORD, later};
use crate::browser::{Browser, Errand, LoginPage, Step, Target};
use crate::credentials::{client_of, token_of};
use crate::form::Form;
use crate::handle::{self, HandleHash, Purpose};
use crate::incoming::Incoming;
use crate::pages::{NewApp, PageContent, Problem, ProofPurpose, ShownCodes, escape, qr};
use crate::tokens::misconfigured;
use crate::{Accounts, AuthorizationServer, CredentialLogin, Message};

#[cfg(feature = "passkeys")]
mod passkeys;

pub(super) fn routes(server: &AuthorizationServer) -> Router<AuthorizationServer> {
    let route = |path: &str| server.parts().issuer.route(path);
    if server.parts().accounts.is_none() {
        return Router::new();
    }
    let router = Router::new();
    #[cfg(feature = "passkeys")]
    let router = router.merge(passkeys::routes(server));
    router
        .route(&route(OVERVIEW), get(overview))
        .route(&route(PASSWORD), get(password_page).post(change_password))
        .route(&route(APP), get(app_page).post(add_app))
        .route(&route(CODES), get(codes_page).post(draw_codes))
        .route(&route(CONFIRM), post(confirm_app))
}

const OVERVIEW: &str = "/account";
const PASSWORD: &str = "/account/password";
const APP: &str = "/account/app";
const CONFIRM: &str = "/account/app/code";
const CODES: &str = "/account/recovery-codes";

async fn overview(State(server): State<AuthorizationServer>, request: Request) -> Response {
    open(&server, request, OVERVIEW).await
}

async fn password_page(State(server): State<AuthorizationServer>, request: Request) -> Response {
    open(&server, request, PASSWORD).await
}

async fn app_page(State(server): State<AuthorizationServer>, request: Request) -> Response {
    open(&server, request, APP).await
}

async fn codes_page(State(server): State<AuthorizationServer>, request: Request) -> Response {
    open(&server, request, CODES).await
}

async fn open(server: &AuthorizationServer, request: Request, page: &str) -> Response {
    let (incoming, _) = server.receive(request).await;
    let answer = async {
        let mut browser = Browser::of(server, &incoming).await?;
        let before = browser.session.as_ref().map(|session| session.session);
        show(server, &incoming, &mut browser, page, before).await
    };
    answer.await.unwrap_or_else(|unusable: Unusable| unusable.into_response(server))
}

/// Shows one of the pages, after a login if nobody is logged in. `before` is the session in the browser.
pub(super) async fn show(
    server: &AuthorizationServer,
    incoming: &Incoming,
    browser: &mut Browser,
    page: &str,
    before: Option<HandleHash>,
) -> Result<Response, Unusable> {
    let mut response = match Owner::of(server, browser).await? {
        None => ask_login(server, incoming, browser, page)?,
        Some(owner) => {
            let mut visit = Visit { server, incoming, browser, owner, passkey: None };
            match page {
                PASSWORD => visit.ask_password(200, None).await?,
                APP => visit.ask_factor_proof(ProofPurpose::AddApp).await?,
                CODES => visit.ask_proof(200, ProofPurpose::RecoveryCodes, None).await?,
                #[cfg(feature = "passkeys")]
                passkeys::LIST => visit.list_passkeys().await?,
                #[cfg(feature = "passkeys")]
                passkeys::NEW => visit.ask_factor_proof(ProofPurpose::AddPasskey).await?,
                _ => visit.overview().await?,
            }
        }
    };
    browser.set_cookies(server, &mut response, before);
    Ok(response)
}

fn ask_login(
    server: &AuthorizationServer,
    incoming: &Incoming,
    browser: &mut Browser,
    page: &str,
) -> Result<Response, Unusable> {
    let errand = Errand::new(Target::Account, page);
    Ok(server.login_page(browser, &errand, &LoginPage::FIRST, incoming.now)?)
}

/// Is whose session it is.
struct Owner {
    login: CredentialLogin,
    account: Account,
}

impl Owner {
    /// `None` when nobody is logged in whose account is open.
    async fn of(server: &AuthorizationServer, browser: &Browser) -> Result<Option<Self>, Unusable> {
        let login = server.parts().accounts.clone().ok_or(Unusable::Page("There are no such pages here."))?;
        let Some(session) = &browser.session else { return Ok(None) };
        let Some(id) = AccountId::parse(&session.subject) else { return Ok(None) };
        let account = login.credentials().account(&id).await?;
        let account = account.filter(|account| account.counts_login_at(session.authentication.time));
        Ok(account.map(|account| Self { login, account }))
    }
}

/// Reads a form of ours, sent in this session, and goes on.
async fn receive(
    server: &AuthorizationServer,
    request: Request,
    step: Step<'_>,
    act: impl AsyncFnOnce(&mut Visit<'_>, &Form) -> Result<Response, Unusable>,
) -> Response {
    let (incoming, body) = server.receive(request).await;
    let answer = async {
        let form = login::read(&incoming, body).await?;
        let errand = Errand::from_form(&form).filter(|errand| errand.target == Target::Account);
        let errand = errand.ok_or(Unusable::Page("The form is not one of ours."))?;
        let mut browser = Browser::of(server, &incoming).await?;
        let before = browser.session.as_ref().map(|session| session.session);
        let is_ours = incoming.is_same_origin(server.parts().issuer.origin())
            && browser.wrote(server, step, &errand, form.get("token").unwrap_or_default(), incoming.now);
        let owner = Owner::of(server, &browser).await?.filter(|_| is_ours);
        let owner = owner.ok_or(Unusable::Page(login::not_ours().description))?;
        let passkey = form.get("passkey").map(str::to_owned);
        let mut visit = Visit { server, incoming: &incoming, browser: &mut browser, owner, passkey };
        let mut response = act(&mut visit, &form).await?;
        browser.set_cookies(server, &mut response, before);
        Ok(response)
    };
    answer.await.unwrap_or_else(|unusable: Unusable| unusable.into_response(server))
}

async fn change_password(State(server): State<AuthorizationServer>, request: Request) -> Response {
    receive(&server, request, TO_PASSWORD, async |visit, form| {
        let new = secret(form, "new_password");
        if secret(form, "repeated_password") != new {
            return visit.ask_password(403, Some(Problem::NotRepeated)).await;
        }
        let credentials = visit.owner.login.credentials().clone();
        // Before anything is used up.
        if let Err(error) = credentials.check_new_password(&visit.owner.account, &new) {
            return visit.ask_password(403, Some(too_weak(error))).await;
        }
        let login = match visit.check(form).await? {
            Ok(login) => login,
            Err(problem @ Problem::TryLater(seconds)) => {
                return Ok(later(visit.ask_password(429, Some(problem)).await?, seconds));
            }
            Err(problem) => return visit.ask_password(403, Some(problem)).await,
        };
        let accounts = visit.accounts();
        match accounts.change_password_after(&login, &new, visit.incoming.now).await {
            Ok(()) => {
                visit.browser.log_out();
                #[cfg(feature = "passkeys")]
                let passkeys = visit.link_to_passkeys().await?;
                #[cfg(not(feature = "passkeys"))]
                let passkeys: Option<String> = None;
                let content = PageContent::PasswordChanged { passkeys: passkeys.as_deref() };
                Ok(visit.server.page(200, content, None))
            }
            Err(ChangeError::Password(error)) => visit.ask_password(403, Some(too_weak(error))).await,
            Err(ChangeError::Failure(failure) | ChangeError::LoginsNotEnded { failure, .. }) => Err(failure.into()),
            Err(_) => visit.ask_password(403, Some(Problem::Wrong)).await,
        }
    })
    .await
}

const fn too_weak(error: PasswordError) -> Problem {
    match error {
        PasswordError::TooShort => Problem::TooShort,
        PasswordError::TooLong => Problem::TooLong,
        _ => Problem::TooCommon,
    }
}

async fn add_app(State(server): State<AuthorizationServer>, request: Request) -> Response {
    receive(&server, request, TO_APP, async |visit, form| {
        let login = match visit.prove_for_factor(form, ProofPurpose::AddApp).await? {
            Ok(login) => login,
            Err(refused) => return Ok(*refused),
        };
        match visit.owner.login.credentials().begin_totp_after(&login, visit.incoming.now).await? {
            Some(app) => visit.ask_first_code(200, Some(&app), None),
            // The account is gone, or has an app since the proof.
            None => visit.ask_proof(403, ProofPurpose::AddApp, Some(Problem::Wrong)).await,
        }
    })
    .await
}

async fn confirm_app(State(server): State<AuthorizationServer>, request: Request) -> Response {
    receive(&server, request, TO_CONFIRM, async |visit, form| {
        let code = secret(form, "code");
        let id = visit.owner.account.id.clone();
        let credentials = visit.owner.login.credentials().clone();
        // Whoever has stolen a session must not guess at an app that its owner is adding.
        let (attempts, now) = (HandleHash::of(Purpose::FirstCodes, id.as_str()), visit.incoming.now);
        if visit.server.parts().store.count(&attempts, now.saturating_add(CODES_WITHIN), now).await? > MOST_FIRST_CODES
        {
            let seconds = CODES_WITHIN.as_secs();
            return Ok(later(visit.ask_first_code(429, None, Some(Problem::TryLater(seconds)))?, seconds));
        }
        // A passkey may have been added since the app was begun.
        if visit.needs_passkey().await? {
            return Ok(visit.server.message(403, Message::PasskeyNeeded));
        }
        if code.len() > LONGEST_CODE || !visit.accounts().confirm_totp(&id, &code, visit.incoming.now).await? {
            return visit.ask_first_code(403, None, Some(Problem::Wrong));
        }
        // Whoever is logged in elsewhere by the password alone is so no more, and neither is this browser.
        visit.browser.log_out();
        if credentials.second_factors(&id).await?.recovery_codes > 0 {
            return Ok(visit.server.message(200, Message::AppAdded));
        }
        visit.show_codes().await
    })
    .await
}

async fn draw_codes(State(server): State<AuthorizationServer>, request: Request) -> Response {
    receive(&server, request, TO_CODES, async |visit, form| {
        let login = match visit.prove(form, ProofPurpose::RecoveryCodes).await? {
            Ok(login) => login,
            Err(refused) => return Ok(*refused),
        };
        let factors = visit.owner.login.credentials().second_factors(&visit.owner.account.id).await?;
        if !factors.has_totp {
            return Err(Unusable::Page("Recovery codes stand in for an authenticator app. There is none."));
        }
        // An app that was added since the password was checked wants its code.
        if !login.is_two_factors() {
            return visit.ask_proof(403, ProofPurpose::RecoveryCodes, Some(Problem::Wrong)).await;
        }
        visit.show_codes().await
    })
    .await
}

/// How many first codes of new apps one user may type in a quarter of an hour.
const MOST_FIRST_CODES: u32 = 20;
const CODES_WITHIN: Duration = Duration::from_secs(900);

const TO_PASSWORD: Step<'static> = Step::Change("change password");
const TO_APP: Step<'static> = Step::Change("add app");
const TO_CONFIRM: Step<'static> = Step::Change("confirm app");
const TO_CODES: Step<'static> = Step::Change("draw recovery codes");

/// Is one exchange with somebody who is logged in.
struct Visit<'a> {
    server: &'a AuthorizationServer,
    incoming: &'a Incoming,
    browser: &'a mut Browser,
    owner: Owner,
    /// A field that the page which asks for the proof sends again: which passkey to remove.
    passkey: Option<String>,
}

impl Visit<'_> {
    async fn overview(&self) -> Result<Response, Unusable> {
        let factors = self.owner.login.credentials().second_factors(&self.owner.account.id).await?;
        let route = |path| self.server.parts().issuer.route(path);
        let (password, app, codes) = (route(PASSWORD), route(APP), route(CODES));
        #[cfg(feature = "passkeys")]
        let passkeys = self.owner.login.passkeys().map(|_| route(passkeys::LIST));
        #[cfg(not(feature = "passkeys"))]
        let passkeys: Option<String> = None;
        let content = PageContent::Account {
            username: self.owner.account.username.as_str(),
            password: &password,
            app: &app,
            recovery_codes: factors.has_totp.then_some(&codes),
            has_app: factors.has_totp,
            recovery_codes_left: factors.recovery_codes,
            passkeys: passkeys.as_deref(),
        };
        Ok(self.server.page(200, content, None))
    }

    /// Checks the password again, and a code if the account has an app, and says what was proved. What an account has may change
    /// afterwards: whoever goes on looks at the proof, not at the account alone.
    async fn check(&self, form: &Form) -> Result<Result<Authenticated, Problem>, Unusable> {
        let (password, code) = (secret(form, "password"), secret(form, "code"));
        if password.is_empty() || password.len() > LONGEST_PASSWORD || code.len() > LONGEST_CODE {
            return Ok(Err(Problem::Wrong));
        }
        let device = self.device();
        let client = client_of(self.address(), device.as_ref());
        let (account, now) = (&self.owner.account, self.incoming.now);
        let credentials = self.owner.login.credentials();
        let mut outcome = credentials.check_password(account.username.as_str(), &password, client, now).await?;
        if let LoginOutcome::SecondFactorNeeded(ticket) = outcome {
            outcome = credentials.check_second_factor(&ticket, &code, client, now).await?;
        }
        Ok(match outcome {
            // A name can have been given to another account meanwhile.
            LoginOutcome::Authenticated(login) if login.account == account.id => Ok(login),
            LoginOutcome::TryLater(wait) => Err(Problem::TryLater(wait.as_secs().max(1))),
            _ => Err(Problem::Wrong),
        })
    }

    /// Checks as [`check`](Self::check) does. `Err` is the refusal.
    async fn prove(
        &mut self,
        form: &Form,
        purpose: ProofPurpose,
    ) -> Result<Result<Authenticated, Box<Response>>, Unusable> {
        Ok(match self.check(form).await? {
            Ok(login) => Ok(login),
            Err(problem @ Problem::TryLater(seconds)) => {
                Err(Box::new(later(self.ask_proof(429, purpose, Some(problem)).await?, seconds)))
            }
            Err(problem) => Err(Box::new(self.ask_proof(403, purpose, Some(problem)).await?)),
        })
    }

    /// Proves as [`prove`](Self::prove) does, for a change of what is two factors.
    async fn prove_for_factor(
        &mut self,
        form: &Form,
        purpose: ProofPurpose,
    ) -> Result<Result<Authenticated, Box<Response>>, Unusable> {
        let login = match self.prove(form, purpose).await? {
            Ok(login) => login,
            Err(refused) => return Ok(Err(refused)),
        };
        if !login.is_two_factors() && self.needs_passkey().await? {
            return Ok(Err(Box::new(self.server.message(403, Message::PasskeyNeeded))));
        }
        Ok(Ok(login))
    }

    async fn ask_factor_proof(&mut self, purpose: ProofPurpose) -> Result<Response, Unusable> {
        if self.needs_passkey().await? {
            return Ok(self.server.message(403, Message::PasskeyNeeded));
        }
        self.ask_proof(200, purpose, None).await
    }

    /// Tells whether the user has to log in by a passkey first. The password is asked on the pages themselves: were it enough, whoever has
    /// stolen it would add a second factor of their own beside the owner's passkeys, or remove those. Whoever has an app gives a code.
    #[cfg(feature = "passkeys")]
    async fn needs_passkey(&self) -> Result<bool, Failure> {
        let methods = self.browser.session.as_ref().map(|session| &session.authentication.methods);
        let is_proved = |methods: &Vec<String>| methods.iter().any(|method| matches!(&**method, "mfa" | "pop"));
        if methods.is_some_and(is_proved) || self.asks_code().await? {
            return Ok(false);
        }
        Ok(!self.owner.login.credentials().list_passkeys(&self.owner.account.id).await?.is_empty())
    }

    #[cfg(not(feature = "passkeys"))]
    async fn needs_passkey(&self) -> Result<bool, Failure> {
        Ok(false)
    }

    fn accounts(&self) -> Accounts {
        Accounts::new(self.server.clone(), self.owner.login.credentials().clone())
    }

    async fn asks_code(&self) -> Result<bool, Failure> {
        Ok(self.owner.login.credentials().second_factors(&self.owner.account.id).await?.has_totp)
    }

    async fn ask_password(&mut self, status: u16, problem: Option<Problem>) -> Result<Response, Unusable> {
        let asks_code = self.asks_code().await?;
        let hidden = self.hidden(TO_PASSWORD)?;
        let action = self.server.parts().issuer.route(PASSWORD);
        let (form, username) = (self.server.form(&action, &hidden), self.owner.account.username.as_str());
        Ok(self.server.page(status, PageContent::ChangePassword { form, username, asks_code, problem }, None))
    }

    async fn ask_proof(
        &mut self,
        status: u16,
        purpose: ProofPurpose,
        problem: Option<Problem>,
    ) -> Result<Response, Unusable> {
        let (step, path) = match purpose {
            ProofPurpose::AddApp => (TO_APP, APP),
            ProofPurpose::RecoveryCodes => (TO_CODES, CODES),
            #[cfg(feature = "passkeys")]
            ProofPurpose::AddPasskey => (passkeys::TO_ADD, passkeys::NEW),
            #[cfg(feature = "passkeys")]
            ProofPurpose::RemovePasskey => (passkeys::TO_REMOVE, passkeys::REMOVE),
            #[cfg(not(feature = "passkeys"))]
            ProofPurpose::AddPasskey | ProofPurpose::RemovePasskey => {
                return Err(Unusable::Page("There are no such pages here."));
            }
        };
        let asks_code = self.asks_code().await?;
        let mut hidden = self.hidden(step)?;
        if let Some(passkey) = self.passkey.as_deref().filter(|_| purpose == ProofPurpose::RemovePasskey) {
            hidden.push_str(&format!(r#"<input type="hidden" name="passkey" value="{}">"#, escape(passkey)));
        }
        let action = self.server.parts().issuer.route(path);
        let (form, username) = (self.server.form(&action, &hidden), self.owner.account.username.as_str());
        Ok(self.server.page(status, PageContent::ProveAgain { form, username, purpose, asks_code, problem }, None))
    }

    fn ask_first_code(
        &mut self,
        status: u16,
        app: Option<&TotpSecret>,
        problem: Option<Problem>,
    ) -> Result<Response, Unusable> {
        let hidden = self.hidden(TO_CONFIRM)?;
        let action = self.server.parts().issuer.route(CONFIRM);
        let form = self.server.form(&action, &hidden);
        let Some(app) = app else {
            return Ok(self.server.page(status, PageContent::ConfirmApp { form, app: None, problem }, None));
        };
        let origin = self.server.parts().issuer.origin();
        let host = origin.split_once("://").map_or(origin, |(_, host)| host);
        let service = self.owner.login.service().unwrap_or(host);
        let (secret, uri) = (app.to_base32(), app.to_uri(service, self.owner.account.username.as_str()));
        let too_long = || misconfigured("the name of the service is too long for a QR code");
        let qr_code = zeroize::Zeroizing::new(qr::draw(handle::text(&uri)).ok_or_else(too_long)?);
        let app = NewApp { secret: handle::text(&secret), uri: handle::text(&uri), qr_code: &qr_code };
        Ok(self.server.page(status, PageContent::ConfirmApp { form, app: Some(app), problem }, None))
    }

    async fn show_codes(&self) -> Result<Response, Unusable> {
        let codes = self.owner.login.credentials().issue_recovery_codes(&self.owner.account.id).await?;
        let codes = codes.ok_or(Unusable::Page(login::not_ours().description))?;
        let account = self.server.parts().issuer.route(OVERVIEW);
        let codes = ShownCodes::new(codes.iter().map(RecoveryCode::text).map(handle::text).collect());
        Ok(self.server.page(200, PageContent::RecoveryCodes { codes, account: &account }, None))
    }

    fn hidden(&mut self, step: Step<'_>) -> Result<String, Failure> {
        self.browser.hidden(self.server, step, &Errand::new(Target::Account, ""), self.incoming.now)
    }

    fn device(&self) -> Option<DeviceToken> {
        token_of(self.browser.device.as_ref())
    }

    fn address(&self) -> Option<std::net::IpAddr> {
        self.incoming.client_address(&self.server.parts().proxies)
    }
}

fn secret(form: &Form, name: &str) -> Secret {
    Secret::from(form.get(name).unwrap_or_default())
}
