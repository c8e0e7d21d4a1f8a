//! The pages on which users add and remove passkeys.

use sekisho_credentials::{CeremonyTicket, PasskeyError, Passkeys};

use super::{
    AuthorizationServer, Form, Message, PageContent, Problem, ProofPurpose, Request, Response, Router, State, Step,
    Unusable, Visit, get, handle, login, open, post, receive,
};
use crate::browser::{SCRIPT, passkey_fields};
use crate::pages::{PasskeyForm, ShownPasskey};

pub(super) const LIST: &str = "/account/passkeys";
pub(super) const NEW: &str = "/account/passkeys/new";
const CREATED: &str = "/account/passkeys/created";
pub(super) const REMOVE: &str = "/account/passkeys/remove";

pub(super) const TO_ADD: Step<'static> = Step::Change("add passkey");
const TO_CREATE: Step<'static> = Step::Change("create passkey");
pub(super) const TO_REMOVE: Step<'static> = Step::Change("remove passkey");

const LONGEST_TICKET: usize = 1024;

pub(super) fn routes(server: &AuthorizationServer) -> Router<AuthorizationServer> {
    let route = |path: &str| server.parts().issuer.route(path);
    if server.parts().accounts.as_ref().is_none_or(|login| login.passkeys().is_none()) {
        return Router::new();
    }
    Router::new()
        .route(&route(LIST), get(list_page))
        .route(&route(NEW), get(new_page).post(prove))
        .route(&route(CREATED), post(create))
        .route(&route(REMOVE), post(remove))
}

async fn list_page(State(server): State<AuthorizationServer>, request: Request) -> Response {
    open(&server, request, LIST).await
}

async fn new_page(State(server): State<AuthorizationServer>, request: Request) -> Response {
    open(&server, request, NEW).await
}

async fn prove(State(server): State<AuthorizationServer>, request: Request) -> Response {
    receive(&server, request, TO_ADD, async |visit, form| {
        let login = match visit.prove_for_factor(form, ProofPurpose::AddPasskey).await? {
            Ok(login) => login,
            Err(refused) => return Ok(*refused),
        };
        let page = visit.ask_passkey().await?;
        // A passkey stands in for an app: one that was added since the password was checked wants its code. Asked after the ticket was
        // made, which ends when an app is added.
        if visit.asks_code().await? && !login.is_two_factors() {
            return visit.ask_proof(403, ProofPurpose::AddPasskey, Some(Problem::Wrong)).await;
        }
        Ok(page)
    })
    .await
}

async fn create(State(server): State<AuthorizationServer>, request: Request) -> Response {
    receive(&server, request, TO_CREATE, async |visit, form| {
        let (ticket, response) = (text(form, "ticket"), text(form, "response"));
        let label = text(form, "label").trim();
        if ticket.len() > LONGEST_TICKET {
            return Ok(visit.server.message(403, Message::PasskeyNotAdded));
        }
        // Another passkey may have been added since this one was begun.
        if visit.needs_passkey().await? {
            return Ok(visit.server.message(403, Message::PasskeyNeeded));
        }
        let (passkeys, browser) = (visit.passkeys()?, visit.browser.secret());
        let (account, ticket) = (&visit.owner.account.id, CeremonyTicket::new(ticket));
        let label = if label.is_empty() { "Passkey" } else { label };
        let now = visit.incoming.now;
        match passkeys.finish_registration(account, &browser, &ticket, response.as_bytes(), label, now).await {
            Ok(_) => visit.list_passkeys().await,
            Err(PasskeyError::Failure(failure)) => Err(failure.into()),
            Err(_) => Ok(visit.server.message(403, Message::PasskeyNotAdded)),
        }
    })
    .await
}

async fn remove(State(server): State<AuthorizationServer>, request: Request) -> Response {
    receive(&server, request, TO_REMOVE, async |visit, form| {
        let id = handle::decode(text(form, "passkey")).ok_or(Unusable::Page(login::not_ours().description))?;
        // The list sends which one; the page that asks for the password sends it again.
        if form.get("password").is_none() {
            return visit.ask_factor_proof(ProofPurpose::RemovePasskey).await;
        }
        if let Err(refused) = visit.prove_for_factor(form, ProofPurpose::RemovePasskey).await? {
            return Ok(*refused);
        }
        if !visit.accounts().remove_passkey(&visit.owner.account.id, &id, visit.incoming.now).await? {
            return Ok(visit.server.message(404, Message::NoSuchPasskey));
        }
        visit.browser.log_out();
        Ok(visit.server.message(200, Message::PasskeyRemoved))
    })
    .await
}

fn text<'a>(form: &'a Form, name: &str) -> &'a str {
    form.get(name).unwrap_or_default()
}

impl Visit<'_> {
    fn passkeys(&self) -> Result<Passkeys, Unusable> {
        self.owner.login.passkeys().cloned().ok_or(Unusable::Page("There are no such pages here."))
    }

    pub(super) async fn list_passkeys(&mut self) -> Result<Response, Unusable> {
        self.passkeys()?;
        let kept = self.owner.login.credentials().list_passkeys(&self.owner.account.id).await?;
        let ids: Vec<String> = kept.iter().map(|passkey| handle::encode(&passkey.credential_id)).collect();
        let shown = kept.iter().zip(&ids).map(|(passkey, id)| ShownPasskey {
            id,
            label: &passkey.label,
            is_synced: passkey.is_backup_eligible,
        });
        let hidden = self.hidden(TO_REMOVE)?;
        let route = |path| self.server.parts().issuer.route(path);
        let (action, add) = (route(REMOVE), route(NEW));
        let (form, passkeys) = (self.server.form(&action, &hidden), shown.collect());
        Ok(self.server.page(200, PageContent::Passkeys { passkeys, form, add: &add }, None))
    }

    /// Where the user sees their passkeys, if they have any.
    pub(super) async fn link_to_passkeys(&self) -> Result<Option<String>, Unusable> {
        if self.owner.login.passkeys().is_none() {
            return Ok(None);
        }
        let kept = self.owner.login.credentials().list_passkeys(&self.owner.account.id).await?;
        Ok((!kept.is_empty()).then(|| self.server.parts().issuer.route(LIST)))
    }

    async fn ask_passkey(&mut self) -> Result<Response, Unusable> {
        let hidden = self.hidden(TO_CREATE)?;
        let (passkeys, browser) = (self.passkeys()?, self.browser.secret());
        let account = &self.owner.account.id;
        let ceremony = passkeys.begin_registration(account, &browser, self.incoming.now).await?;
        let ceremony = ceremony.ok_or(Unusable::Page(login::not_ours().description))?;
        let hidden = passkey_fields(&hidden, ceremony.ticket.text());
        let route = |path| self.server.parts().issuer.route(path);
        let (action, script) = (route(CREATED), route(SCRIPT));
        let form = self.server.form(&action, &hidden);
        let form = PasskeyForm { form, options: &ceremony.options, script: &script };
        Ok(self.server.page(200, PageContent::AddPasskey { form }, None))
    }
}
