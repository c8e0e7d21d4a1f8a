use std::fmt::Write as _;

use sekisho::session::{SessionId, SessionOverview};
use sekisho::{Clock as _, SystemClock, UnixSeconds};

/// Writes the login form.
pub(crate) fn login(return_to: &str, was_wrong: bool) -> String {
    let wrong = if was_wrong { "<p>That was not right.</p>" } else { "" };
    let fields = r#"<input name="user" autocomplete="username" placeholder="name">
<input name="password" type="password" autocomplete="current-password" placeholder="password">"#;
    let return_to = hidden("return_to", return_to);
    page("Log in", &[wrong, &form("/login", "", &format!("{fields}{return_to}"), "Log in")].concat())
}

/// Writes the page of somebody who is logged in.
pub(crate) fn home(subject: &str, items: &[String], token: &str) -> String {
    let mut body = format!("<p>Hello {}.</p><ul>", escape(subject));
    for item in items {
        // Writing to a `String` does not fail.
        let _ = write!(body, "<li>{}</li>", escape(item));
    }
    body.push_str("</ul>");
    body.push_str(&form("/cart", token, r#"<input name="item" placeholder="item">"#, "Add"));
    body.push_str(r#"<p><a href="/sessions">Your sessions</a></p>"#);
    body.push_str(&form("/logout", token, "", "Log out"));
    page("The shop", &body)
}

/// Writes the list of a user's sessions, the one that asks among them.
pub(crate) fn sessions(listed: &[SessionOverview], own: Option<&SessionId>, token: &str) -> String {
    let now = SystemClock.now();
    let mut body = String::from("<table><tr><th>device</th><th>since</th><th>last used</th><th></th></tr>");
    for session in listed {
        let device = escape(session.device().unwrap_or("unknown"));
        let this = if own == Some(session.id()) { " (this one)" } else { "" };
        let (since, used) = (ago(session.created_at(), now), ago(session.last_used_at(), now));
        let end = form("/sessions/end", token, &hidden("session", session.id().as_str()), "End");
        let _ = write!(body, "<tr><td>{device}{this}</td><td>{since}</td><td>{used}</td><td>{end}</td></tr>");
    }
    body.push_str("</table>");
    body.push_str(&form("/sessions/end-all", token, "", "End all"));
    page("Your sessions", &body)
}

/// Writes the other service's only page.
pub(crate) fn bill(subject: &str, items: usize) -> String {
    page("Billing", &format!("<p>Bill of {}: {items} items.</p>", escape(subject)))
}

fn ago(then: UnixSeconds, now: UnixSeconds) -> String {
    format!("{} min ago", now.since(then).as_secs() / 60)
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><h1>{title}</h1>{body}</html>"
    )
}

fn form(action: &str, token: &str, fields: &str, button: &str) -> String {
    let token = if token.is_empty() { String::new() } else { hidden("token", token) };
    format!(r#"<form method="post" action="{action}">{token}{fields}<button>{button}</button></form>"#)
}

fn hidden(name: &str, value: &str) -> String {
    format!(r#"<input type="hidden" name="{name}" value="{}">"#, escape(value))
}

/// Makes text of strangers harmless in a page.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
