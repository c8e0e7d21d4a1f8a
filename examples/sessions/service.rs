use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::http::header::USER_AGENT;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Router};
use sekisho::axum::{CheckpointExt as _, Principal, RefusalResponse, Session, SessionLayer};
use sekisho::dangerous::PrincipalBuilder;
use sekisho::http::Answer;
use sekisho::session::{Login, LoginRedirect, ReturnTo, SessionId, SessionRules, Sessions};
use sekisho::{Checkpoint, ConfigError};
use serde::{Deserialize, Serialize};

use crate::pages;

/// The password of the one user, in the open because it is an example.
pub(crate) const PASSWORD: &str = "open sesame";

/// Is what the shop keeps in a session.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Cart {
    items: Vec<String>,
}

/// Is what any of the forms sends; what a form does not have stays empty.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Posted {
    token: String,
    user: String,
    password: String,
    return_to: String,
    item: String,
    session: String,
}

#[derive(Deserialize)]
struct Came {
    return_to: Option<String>,
}

/// Makes the service where people log in.
pub(crate) fn shop(sessions: Sessions) -> Result<Router, ConfigError> {
    let checkpoint = checkpoint(&sessions)?;
    let layer =
        SessionLayer::new(SessionRules::new(sessions.clone()).with_login_redirect(LoginRedirect::to("/login")?));
    Ok(Router::new()
        .route("/", get(home))
        .route("/sessions", get(list))
        .route("/sessions/end", post(end))
        .route("/sessions/end-all", post(end_all))
        .layer(checkpoint.layer())
        // Below here nobody needs to be logged in.
        .route("/login", get(login_page).post(log_in))
        .route("/logout", post(log_out))
        .route("/cart", post(add))
        .layer(layer)
        .with_state(sessions))
}

/// Makes the other service, which has no login of its own.
pub(crate) fn billing(sessions: Sessions) -> Result<Router, ConfigError> {
    let checkpoint = checkpoint(&sessions)?;
    let bill = async |caller: Principal, session: Session<Cart>| {
        Html(pages::bill(caller.subject(), session.data().items.len()))
    };
    Ok(Router::new().route("/", get(bill)).layer(checkpoint.layer()).layer(SessionLayer::new(sessions)))
}

fn checkpoint(sessions: &Sessions) -> Result<Checkpoint, ConfigError> {
    Checkpoint::builder().with_cookie(sessions.cookie().name()).accept(sessions.authenticator()).build()
}

async fn login_page(Query(came): Query<Came>) -> Html<String> {
    Html(pages::login(came.return_to.as_deref().unwrap_or_default(), false))
}

async fn log_in(
    session: Session<()>,
    headers: HeaderMap,
    Form(form): Form<Posted>,
) -> Result<Response, RefusalResponse> {
    // That no other site sent it is checked by the layer; a token would need a session for everybody who looks at the form.
    // A real service asks `sekisho-credentials`, which slows down whoever guesses, or an identity provider.
    if form.user != "alice" || form.password != PASSWORD {
        let page = pages::login(&form.return_to, true);
        return Ok(Html(page).into_response());
    }
    let Ok(alice) = PrincipalBuilder::new("https://shop.example", form.user).with_claim("amr", vec!["pwd"]).build()
    else {
        return Err(Answer::bad_request().into());
    };
    let device = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    session.log_in(Login::new(&alice).with_device(device));
    let to = ReturnTo::parse(&form.return_to);
    Ok(Redirect::to(to.as_ref().map_or("/", ReturnTo::as_str)).into_response())
}

async fn log_out(session: Session<()>, Form(form): Form<Posted>) -> Result<Redirect, RefusalResponse> {
    session.check_form_token(&form.token)?;
    session.log_out();
    Ok(Redirect::to("/login"))
}

async fn add(mut session: Session<Cart>, Form(form): Form<Posted>) -> Redirect {
    session.update(move |cart| {
        if cart.items.len() < 100 {
            cart.items.push(form.item.clone());
        }
    });
    Redirect::to("/")
}

async fn home(caller: Principal, session: Session<Cart>) -> Result<Html<String>, RefusalResponse> {
    Ok(Html(pages::home(caller.subject(), &session.data().items, &token(&session)?)))
}

async fn list(
    State(sessions): State<Sessions>,
    caller: Principal,
    session: Session<()>,
) -> Result<Html<String>, RefusalResponse> {
    let listed = sessions.list(&caller.id()).await.map_err(|failure| Answer::of_failure(&failure))?;
    Ok(Html(pages::sessions(&listed, session.id().as_ref(), &token(&session)?)))
}

async fn end(
    State(sessions): State<Sessions>,
    caller: Principal,
    session: Session<()>,
    Form(form): Form<Posted>,
) -> Result<Redirect, RefusalResponse> {
    session.check_form_token(&form.token)?;
    let id = SessionId::from_text(&form.session).ok_or_else(Answer::bad_request)?;
    sessions.end(&caller.id(), &id).await.map_err(|failure| Answer::of_failure(&failure))?;
    Ok(Redirect::to("/sessions"))
}

async fn end_all(
    State(sessions): State<Sessions>,
    caller: Principal,
    session: Session<()>,
    Form(form): Form<Posted>,
) -> Result<Redirect, RefusalResponse> {
    session.check_form_token(&form.token)?;
    sessions.end_all(&caller.id()).await.map_err(|failure| Answer::of_failure(&failure))?;
    Ok(Redirect::to("/login"))
}

fn token<T>(session: &Session<T>) -> Result<String, RefusalResponse> {
    session.form_token().map_err(|failure| Answer::of_failure(&failure).into())
}
