//! What Keycloak's answers mean.

use sekisho_core::json::{JsonObject, JsonValue};
use sekisho_core::{Failure, FailureKind};
use sekisho_http::HttpResponse;
use serde::Deserialize;

use super::question::{By, Permission};

/// Is what an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer<T> {
    /// What was asked for is there.
    Granted(T),
    /// Nothing is: the policies of the resource server say so.
    Denied,
    /// The resource server has no such resource or scope.
    Unknown,
    /// The caller's token is no good to the provider: it has expired, its session has ended, its user was disabled.
    TokenRefused,
}

/// Reads the answer to `response_mode=decision`.
pub(super) fn decision(response: &HttpResponse) -> Result<Answer<()>, Failure> {
    if response.status != 200 {
        return refusal(response);
    }
    let result = object(response)?.get("result").and_then(JsonValue::as_bool);
    match result {
        Some(true) => Ok(Answer::Granted(())),
        Some(false) => Ok(Answer::Denied),
        None => Err(NONSENSE),
    }
}

/// Reads the answer to `response_mode=permissions`, asked about one resource: the scopes of it that are granted.
pub(super) fn scopes(response: &HttpResponse, permission: &Permission) -> Result<Answer<Box<[Box<str>]>>, Failure> {
    if response.status != 200 {
        return refusal(response);
    }
    if !is_json(response) {
        return Err(NONSENSE);
    }
    let granted: Vec<Granted> = serde_json::from_slice(&response.body).map_err(|_| NONSENSE)?;
    match &*granted {
        [one] if one.is_of(permission) => Ok(Answer::Granted(one.scopes.iter().cloned().collect())),
        [one] if one.is_mistaken_for(permission) => Err(MISTAKEN),
        // The caller may own a resource with the name of the server's.
        [_, _, ..] if granted.iter().all(|one| one.is_of(permission)) => Err(AMBIGUOUS),
        _ => Err(NONSENSE),
    }
}

/// Tells whether permissions in the caller's own token, a requesting party token, hold this one.
pub(super) fn holds(claims: &JsonObject, permission: &Permission) -> bool {
    let Some(permissions) = claims.pointer("/authorization/permissions") else { return false };
    let Ok(granted) = permissions.deserialize::<Vec<Granted>>() else { return false };
    // Of which of the two it speaks, the provider shall say.
    if granted.iter().any(|one| one.is_mistaken_for(permission)) {
        return false;
    }
    let mut named = granted.iter().filter(|one| one.is_of(permission));
    match (named.next(), named.next()) {
        (Some(one), None) => one.scopes.contains(&permission.scope),
        _ => false,
    }
}

/// Is an item of a list of permissions.
#[derive(Deserialize)]
struct Granted {
    rsid: Box<str>,
    #[serde(default)]
    rsname: Option<Box<str>>,
    /// Absent where the resource itself is granted, without a scope.
    #[serde(default)]
    scopes: Vec<Box<str>>,
}

impl Granted {
    /// Tells whether it is of the resource, by what that is called by.
    fn is_of(&self, Permission { resource, by, .. }: &Permission) -> bool {
        match by {
            By::Name => self.rsname.as_deref() == Some(resource),
            By::Id => self.rsid == *resource,
        }
    }

    /// Tells whether it is of another resource, whose id is the name that was asked for, or whose name is the id.
    fn is_mistaken_for(&self, permission: &Permission) -> bool {
        let other = match permission.by {
            By::Name => self.rsid == permission.resource,
            By::Id => self.rsname.as_ref() == Some(&permission.resource),
        };
        other && !self.is_of(permission)
    }
}

/// Reads an error of the token endpoint. Only what is known to be a refusal of this question is one.
fn refusal<T>(response: &HttpResponse) -> Result<Answer<T>, Failure> {
    if matches!(response.status, 429 | 500..=599) {
        return Err(Failure::unavailable("the authorization provider is out of order"));
    }
    let object = object(response)?;
    let error = object.get("error").and_then(JsonValue::as_str).ok_or(NONSENSE)?;
    match (response.status, &*error) {
        (403, "access_denied") => Ok(Answer::Denied),
        (400, "invalid_resource" | "invalid_scope") => Ok(Answer::Unknown),
        // Where a client hands the token over, it is called `unauthorized_client`, under another status than the client itself.
        (400 | 401, "invalid_grant" | "invalid_token") | (400, "unauthorized_client") => Ok(Answer::TokenRefused),
        (400 | 401, "invalid_client") | (401, "unauthorized_client") => Err(Failure::new(
            FailureKind::Misconfigured,
            "the authorization provider does not take us for the client that we say we are",
        )),
        _ => Err(Failure::new(FailureKind::BadGateway, "the authorization provider refuses the question")),
    }
}

fn object(response: &HttpResponse) -> Result<JsonObject, Failure> {
    if !is_json(response) {
        return Err(NONSENSE);
    }
    JsonObject::parse(response.body.clone()).map_err(|error| NONSENSE.with_source(error))
}

fn is_json(response: &HttpResponse) -> bool {
    let media_type = response.header("content-type").unwrap_or_default();
    media_type.split(';').next().is_some_and(|kind| kind.trim_ascii().eq_ignore_ascii_case("application/json"))
}

const NONSENSE: Failure =
    Failure::new(FailureKind::BadGateway, "the authorization provider's answer is not what was asked for");
const MISTAKEN: Failure = Failure::new(
    FailureKind::BadGateway,
    "the authorization provider takes the resource for another, whose id is its name or whose name is its id",
);
const AMBIGUOUS: Failure = Failure::new(
    FailureKind::BadGateway,
    "the authorization provider has several resources of the name; address them by their ids",
);

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, body: &str) -> HttpResponse {
        let headers = vec![("content-type".to_owned(), "application/json;charset=UTF-8".to_owned())];
        HttpResponse { status, headers, body: body.as_bytes().to_vec() }
    }

    fn orders(scope: &str) -> Permission {
        Permission::new(By::Name, "orders".to_owned(), scope.to_owned()).unwrap()
    }

    fn by_id(id: &str) -> Permission {
        Permission::new(By::Id, id.to_owned(), "read".to_owned()).unwrap()
    }

    #[test]
    fn only_a_true_result_is_a_permit() {
        assert_eq!(decision(&response(200, r#"{"result":true}"#)).unwrap(), Answer::Granted(()));
        assert_eq!(decision(&response(200, r#"{"result":false}"#)).unwrap(), Answer::Denied);
        for body in [
            "",
            "true",
            "[]",
            "{}",
            r#"[{"result":true}]"#,
            r#"{"result":"true"}"#,
            r#"{"result":1}"#,
            r#"{"result":null}"#,
            r#"{"Result":true}"#,
            r#"{"result":false,"result":true}"#,
            r#"{"result":true} {}"#,
            r#"{"decision":true}"#,
            r#"{"access_token":"a.b.c"}"#,
            "<html>",
        ] {
            assert_eq!(decision(&response(200, body)).unwrap_err().kind(), FailureKind::BadGateway, "{body}");
        }
        let mut page = response(200, r#"{"result":true}"#);
        for media_type in ["text/html", "application/jsonp", ""] {
            page.headers = vec![("content-type".to_owned(), media_type.to_owned())];
            assert!(decision(&page).is_err(), "{media_type}");
        }
        page.headers.clear();
        assert!(decision(&page).is_err());
    }

    #[test]
    fn a_permit_under_another_status_is_none() {
        for status in [0, 100, 201, 204, 206, 301, 302, 304, 400, 401, 403, 404, 418, 429, 500, 503] {
            assert!(decision(&response(status, r#"{"result":true}"#)).is_err(), "{status}");
            assert!(scopes(&response(status, ORDERS), &orders("read")).is_err(), "{status}");
        }
    }

    #[test]
    fn refusals_are_told_from_troubles() {
        let read = |status, error: &str| decision(&response(status, &format!(r#"{{"error":"{error}"}}"#)));
        assert_eq!(read(403, "access_denied").unwrap(), Answer::Denied);
        for error in ["invalid_resource", "invalid_scope"] {
            assert_eq!(read(400, error).unwrap(), Answer::Unknown);
        }
        for (status, error) in
            [(400, "invalid_grant"), (401, "invalid_grant"), (401, "invalid_token"), (400, "unauthorized_client")]
        {
            assert_eq!(read(status, error).unwrap(), Answer::TokenRefused);
        }
        for (status, error, kind) in [
            (401, "invalid_client", FailureKind::Misconfigured),
            (401, "unauthorized_client", FailureKind::Misconfigured),
            (403, "invalid_grant", FailureKind::BadGateway),
            (403, "invalid_resource", FailureKind::BadGateway),
            (400, "access_denied", FailureKind::BadGateway),
            (400, "invalid_request", FailureKind::BadGateway),
            (404, "access_denied", FailureKind::BadGateway),
            (500, "access_denied", FailureKind::Unavailable),
            (503, "invalid_resource", FailureKind::Unavailable),
            (429, "access_denied", FailureKind::Unavailable),
        ] {
            assert_eq!(read(status, error).unwrap_err().kind(), kind, "{status} {error}");
        }
        for body in
            ["", "{}", "access_denied", r#"{"error":{"access_denied":1}}"#, r#"{"error":"a","error":"access_denied"}"#]
        {
            assert_eq!(decision(&response(403, body)).unwrap_err().kind(), FailureKind::BadGateway, "{body}");
        }
    }

    const ORDERS: &str = r#"[{"scopes":["read","write"],"rsid":"id-1","rsname":"orders"}]"#;

    #[test]
    fn a_list_grants_the_scopes_of_the_resource_that_was_asked_about() {
        let Answer::Granted(granted) = scopes(&response(200, ORDERS), &orders("read")).unwrap() else {
            panic!("denied")
        };
        assert_eq!(&*granted, ["read".into(), "write".into()]);
        assert!(matches!(scopes(&response(200, ORDERS), &by_id("id-1")), Ok(Answer::Granted(_))));
        let bare = r#"[{"rsid":"id-1","rsname":"orders"}]"#;
        assert_eq!(scopes(&response(200, bare), &orders("read")).unwrap(), Answer::Granted(Box::default()));
        let refused = response(403, r#"{"error":"access_denied"}"#);
        assert_eq!(scopes(&refused, &orders("read")).unwrap(), Answer::Denied);
    }

    #[test]
    fn a_resource_named_like_the_id_of_another_is_not_taken_for_it() {
        // Asked by name, Keycloak finds one whose id is that name; asked by id, one of that name.
        let named_like_ours = r#"[{"scopes":["read"],"rsid":"orders","rsname":"exports"}]"#;
        let called_like_ours = r#"[{"scopes":["read"],"rsid":"id-2","rsname":"id-1"}]"#;
        let both = r#"[{"scopes":["read"],"rsid":"orders","rsname":"orders"}]"#;
        for (body, permission, granted) in [
            (named_like_ours, orders("read"), false),
            (called_like_ours, by_id("id-1"), false),
            (ORDERS, by_id("orders"), false),
            (both, orders("read"), true),
            (both, by_id("orders"), true),
            (r#"[{"scopes":["read"],"rsid":"orders"}]"#, orders("read"), false),
        ] {
            let answer = scopes(&response(200, body), &permission);
            assert_eq!(answer.is_ok(), granted, "{body} {permission:?}");
            let claims = format!(r#"{{"authorization":{{"permissions":{body}}}}}"#);
            assert_eq!(
                holds(&JsonObject::parse(claims.into()).unwrap(), &permission),
                granted,
                "{body} {permission:?}"
            );
        }
        // In a token the two stand side by side: the provider shall say which one it takes.
        let side_by_side = format!(
            r#"{{"authorization":{{"permissions":[{{"scopes":["read"],"rsid":"id-1","rsname":"orders"}},{}]}}}}"#,
            r#"{"scopes":[],"rsid":"orders","rsname":"exports"}"#
        );
        let claims = JsonObject::parse(side_by_side.into()).unwrap();
        assert!(!holds(&claims, &orders("read")));
        assert!(holds(&claims, &by_id("id-1")));
    }

    #[test]
    fn a_list_that_is_not_about_the_resource_alone_is_no_answer() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"result":true}"#,
            r#"[{"scopes":["read"],"rsid":"id-2","rsname":"exports"}]"#,
            r#"[{"scopes":["read"],"rsid":"id-2"}]"#,
            r#"[{"scopes":["read"],"rsname":"orders"}]"#,
            r#"[{"scopes":"read","rsid":"id-1","rsname":"orders"}]"#,
            r#"[{"scopes":["read",1],"rsid":"id-1","rsname":"orders"}]"#,
            r#"[{"scopes":[],"scopes":["read"],"rsid":"id-1","rsname":"orders"}]"#,
            r#"[{"scopes":["read"],"rsid":"id-1","rsname":"orders"},{"scopes":["read"],"rsid":"id-2","rsname":"exports"}]"#,
            r#"[{"scopes":["read"],"rsid":"id-1","rsname":"orders"},{"scopes":["write"],"rsid":"id-2","rsname":"orders"}]"#,
            r#"[{"scopes":["read"],"rsid":"id-1","rsname":"orders"}]x"#,
        ] {
            assert!(scopes(&response(200, body), &orders("read")).is_err(), "{body}");
        }
        assert!(
            scopes(&response(200, &format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))), &orders("read"))
                .is_err()
        );
    }

    #[test]
    fn a_token_holds_what_it_lists_and_nothing_else() {
        let holds = |claims: &str, scope: &str| holds(&JsonObject::parse(claims.into()).unwrap(), &orders(scope));
        let rpt = format!(r#"{{"authorization":{{"permissions":{ORDERS}}}}}"#);
        assert!(holds(&rpt, "read") && holds(&rpt, "write") && !holds(&rpt, "approve") && !holds(&rpt, "Read"));
        for claims in [
            "{}",
            r#"{"permissions":[{"scopes":["read"],"rsid":"1","rsname":"orders"}]}"#,
            r#"{"authorization":{"permissions":[{"scopes":["read"],"rsid":"1","rsname":"exports"}]}}"#,
            r#"{"authorization":{"permissions":[{"rsid":"1","rsname":"orders"}]}}"#,
            r#"{"authorization":{"permissions":{"scopes":["read"],"rsid":"1","rsname":"orders"}}}"#,
            r#"{"authorization":[{"scopes":["read"],"rsid":"1","rsname":"orders"}]}"#,
            r#"{"authorization":{"permissions":[{"scopes":["read"],"rsid":"1","rsname":"orders"},{"rsid":"2","rsname":"orders"}]}}"#,
        ] {
            assert!(!holds(claims, "read"), "{claims}");
        }
    }
}
