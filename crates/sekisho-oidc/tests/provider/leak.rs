//! Nothing secret goes to a log, an error or a `Debug`.

use std::fmt::Write as _;

use sekisho_oidc::{Callback, LoginRequest};
use sekisho_testkit::{LogRecorder, TokenBuilder};

use crate::scripted::{ACCESS_TOKEN, NOW, REFRESH_TOKEN, SECRET, Scripted, form, pairs};

/// Writes an error and all its causes, both ways.
fn shown(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(text, " {error} {error:?}").unwrap();
        cause = error.source();
    }
    text
}

#[tokio::test]
async fn no_log_no_error_and_no_debug_shows_a_secret() {
    let lines = LogRecorder::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let op = Scripted::new();
    let provider = op.provider();
    let mut seen = format!("{:?} {provider:?}", op.builder());
    let mut secrets =
        vec![ACCESS_TOKEN.to_owned(), REFRESH_TOKEN.to_owned(), SECRET.to_owned(), "nobody sees".to_owned()];

    // A login that succeeds, and all that it leaves behind.
    let start = provider.start(&LoginRequest::new().with_login_hint("hint-of-alice"), NOW).await.unwrap();
    let query = op.authorize(&start.url);
    let (asked, pending) = (pairs(start.url.split_once('?').unwrap().1), start.pending.clone());
    secrets.extend([asked["state"].clone(), asked["nonce"].clone(), "hint-of-alice".to_owned()]);
    write!(seen, "{start:?} {:?}", Callback::from_query(&query)).unwrap();
    let login = provider.finish(start.pending, &Callback::from_query(&query), NOW).await.unwrap();
    secrets.push(form(&op.asked("/token")[0])["code_verifier"].clone());
    secrets.push(form(&op.asked("/token")[0])["code"].clone());
    secrets.push(login.tokens.id_token.as_ref().unwrap().expose_str().unwrap().to_owned());
    let info = provider.user_info(&login.tokens, "u1", NOW).await.unwrap();
    write!(seen, "{login:?} {info:?}").unwrap();

    // What goes wrong after the tokens came, at every place.
    write!(seen, "{}", shown(&provider.finish(pending, &Callback::from_query(&query), NOW).await.unwrap_err()))
        .unwrap();
    op.id_token(|token: TokenBuilder| token.claim("nonce", "hush").sign());
    write!(seen, "{}", shown(&op.login(&provider).await.unwrap_err())).unwrap();
    op.user_info("application/json", r#"{"sub":"hush"}"#);
    write!(seen, "{}", shown(&provider.user_info(&login.tokens, "u1", NOW).await.unwrap_err())).unwrap();
    let hush = format!(r#"{{"error":"hush","error_description":"hush","access_token":"{ACCESS_TOKEN}"}}"#);
    for status in [200, 201, 302, 400, 401, 403, 404, 429, 500] {
        for path in ["/token", "/userinfo", "/revoke"] {
            op.instead(path, Some((status, &hush)));
        }
        write!(seen, "{}", shown(&op.login(&provider).await.unwrap_err())).unwrap();
        write!(seen, "{}", shown(&provider.refresh(&login.tokens, "u1", NOW).await.unwrap_err())).unwrap();
        let refused = provider.user_info(&login.tokens, "u1", NOW).await.unwrap_err();
        write!(seen, "{}", shown(&refused)).unwrap();
        if let Err(error) = provider.revoke(login.tokens.refresh_token.as_ref().unwrap(), NOW).await {
            write!(seen, "{}", shown(&error)).unwrap();
        }
    }
    op.instead("/.well-known/openid-configuration", Some((200, r#"{"issuer":"hush"}"#)));
    write!(seen, "{}", shown(&op.login(&op.provider()).await.unwrap_err())).unwrap();

    // A logout token that is refused.
    let token = crate::logout::token(&op).claim("jti", "hush").sign();
    let notice = provider.logout_notice(&token, NOW).await.unwrap();
    let refused = provider.logout_notice(&token, NOW).await.unwrap_err();
    write!(seen, "{notice:?} {}", shown(&refused)).unwrap();
    secrets.push(token);

    let log = lines.text();
    assert!(log.contains("metadata"), "the log is read: {log}");
    secrets.push("hush".to_owned());
    for secret in secrets {
        assert!(!log.contains(&secret) && !seen.contains(&secret), "{secret}\n{log}\n{seen}");
    }
}
