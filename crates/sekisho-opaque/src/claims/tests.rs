use sekisho_core::Confirmation;
use sekisho_jwt::{Dpop, dangerous};

use super::*;

const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

fn backend() -> Backend {
    #[cfg(feature = "aws-lc-rs")]
    return Backend::aws_lc();
    #[cfg(not(feature = "aws-lc-rs"))]
    return Backend::ring();
}

fn rules() -> Rules {
    Rules::new(backend(), "https://id.example".to_owned(), Some("orders".to_owned())).build().expect("good")
}

fn check(rules: &Rules, json: &str) -> Result<Accepted, Reject> {
    rules.check(JsonObject::parse(json.as_bytes().to_vec()).expect("JSON"), NOW)
}

/// Puts members before an honest answer's.
fn with(members: &str) -> String {
    format!(r#"{{{members}"active":true,"sub":"u1","aud":"orders"}}"#)
}

#[test]
fn accepts_an_answer_with_and_without_what_is_optional() {
    let accepted = check(&rules(), &with("")).expect("good");
    assert_eq!((accepted.until, accepted.dies), (UnixSeconds::MAX, UnixSeconds::MAX));
    let full = with(
        r#""iss":"https://id.example","exp":1800000600,"nbf":1799999999,"iat":1799999999,"scope":"a b","client_id":"c","token_type":"Bearer","username":"u","#,
    );
    let accepted = check(&rules(), &full).expect("good");
    assert_eq!(dangerous::peek(&accepted.candidate).subject(), "u1");
    assert_eq!(dangerous::peek(&accepted.candidate).client(), Some("c"));
    assert!(dangerous::peek(&accepted.candidate).has_scope("b"));
    assert_eq!(accepted.until, UnixSeconds::new(1_800_000_660));
    assert_eq!(accepted.dies, UnixSeconds::new(1_800_000_600));
    let hydra = with(r#""token_use":"access_token","token_type":"Bearer","#);
    assert!(check(&rules(), &hydra).is_ok());
}

#[test]
fn refuses_what_is_not_for_here() {
    for (members, expected) in [
        (r#""iss":"https://id.example/","#, Reject::Issuer),
        (r#""iss":"","#, Reject::Issuer),
        (r#""iss":["https://id.example"],"#, Reject::Invalid(Claim::Issuer)),
        (r#""exp":1799999940,"#, Reject::Expired { by_secs: 0 }),
        (r#""exp":"1900000000","#, Reject::Invalid(Claim::Expiry)),
        (r#""nbf":1800000061,"#, Reject::NotYetValid { by_secs: 1 }),
        (r#""iat":1800000062,"#, Reject::IssuedInFuture { by_secs: 2 }),
        (r#""scope":7,"#, Reject::Invalid(Claim::Scope)),
        (r#""client_id":7,"#, Reject::Invalid(Claim::Client)),
        (r#""token_type":7,"#, Reject::Invalid(Claim::Custom)),
    ] {
        assert_eq!(check(&rules(), &with(members)).err(), Some(expected), "{members}");
    }
    for (json, expected) in [
        (r#"{"active":true,"sub":"u1"}"#, Reject::Missing(Claim::Audience)),
        (r#"{"active":true,"sub":"u1","aud":"other"}"#, Reject::Audience),
        (r#"{"active":true,"sub":"u1","aud":null}"#, Reject::Invalid(Claim::Audience)),
        (r#"{"active":true,"aud":"orders"}"#, Reject::Missing(Claim::Subject)),
        (r#"{"active":true,"sub":"","aud":"orders"}"#, Reject::Invalid(Claim::Subject)),
        (r#"{"active":true,"aud":"orders","client_id":"c"}"#, Reject::Missing(Claim::Subject)),
    ] {
        assert_eq!(check(&rules(), json).err(), Some(expected), "{json}");
    }
}

#[test]
fn refuses_marks_of_refresh_and_other_tokens() {
    for mark in [
        r#""token_type":"refresh_token","#,
        r#""token_type":"Refresh","#,
        r#""token_use":"refresh_token","#,
        r#""typ":"Refresh","#,
        r#""typ":"Offline","#,
        r#""typ":"ID","#,
        r#""tokenName":"refresh_token","#,
        r#""at_hash":"x","#,
        r#""events":{},"#,
    ] {
        assert_eq!(check(&rules(), &with(mark)).err(), Some(Reject::TokenUse), "{mark}");
    }
}

#[test]
fn refuses_tokens_that_are_bound_to_a_holder() {
    for (members, expected) in [
        (r#""cnf":{"jkt":"x"},"#, Reject::ProofRequired),
        (r#""cnf":{"x5t#S256":"x"},"#, Reject::ProofRequired),
        (r#""cnf":{"kid":"x"},"#, Reject::Confirmation),
        (r#""cnf":{},"#, Reject::Confirmation),
        (r#""cnf":null,"#, Reject::Invalid(Claim::Confirmation)),
        (r#""cnf":"x","#, Reject::Invalid(Claim::Confirmation)),
        (r#""token_type":"DPoP","#, Reject::ProofRequired),
        (r#""token_type":"dpop","#, Reject::ProofRequired),
        (r#""typ":"DPoP","#, Reject::ProofRequired),
    ] {
        assert_eq!(check(&rules(), &with(members)).err(), Some(expected), "{members}");
    }
}

#[test]
fn a_binding_is_read_where_it_is_taken_and_a_mark_alone_is_none() {
    const KEY: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    let mut rules = rules();
    rules.constraint = SenderConstraint::new(backend()).with_dpop(Dpop::new()).expect("good");
    let bound = format!(r#""cnf":{{"jkt":"{KEY}"}},"#);
    for mark in ["", r#""token_type":"DPoP","#, r#""typ":"DPoP","#, r#""token_type":"Bearer","#] {
        let bound = check(&rules, &with(&format!("{mark}{bound}"))).expect("good").candidate;
        assert_eq!(bound.confirmation(), Some(&Confirmation::KeyThumbprint(KEY.into())), "{mark}");
        // There is no way out of it without a proof.
        assert_eq!(bound.unbound().err(), Some(Reject::ProofRequired), "{mark}");
    }
    for (members, expected) in [
        (r#""token_type":"DPoP","#.to_owned(), Reject::ProofRequired),
        (r#""typ":"dpop","#.to_owned(), Reject::ProofRequired),
        (r#""token_type":"DPoP","cnf":{"x5t#S256":"x"},"#.to_owned(), Reject::ProofRequired),
        (bound.replace("jkt", "x5t#S256"), Reject::ProofRequired),
        (bound.replace(KEY, "x"), Reject::Invalid(Claim::Confirmation)),
        (bound.replace("}", r#","kid":"x"}"#), Reject::Confirmation),
        (r#""cnf":{},"#.to_owned(), Reject::Confirmation),
        (r#""cnf":null,"#.to_owned(), Reject::Invalid(Claim::Confirmation)),
        (format!(r#""token_type":"refresh_token",{bound}"#), Reject::TokenUse),
    ] {
        assert_eq!(check(&rules, &with(&members)).err(), Some(expected), "{members}");
    }
}

#[test]
fn takes_a_client_for_a_subject_only_when_told_and_never_for_a_user() {
    let mut rules = rules();
    rules.client_as_subject = true;
    let machine = r#"{"active":true,"aud":"orders","client_id":"robot"}"#;
    assert_eq!(dangerous::peek(&check(&rules, machine).expect("good").candidate).subject(), "robot");
    let user = r#"{"active":true,"aud":"orders","client_id":"robot","username":"alice"}"#;
    assert_eq!(check(&rules, user).err(), Some(Reject::Missing(Claim::Subject)));
}

#[test]
fn roles_and_tenant_come_from_where_they_were_told_to_stand() {
    let mut open = Rules::new(backend(), "https://id.example".to_owned(), None);
    open.profile = Profile::keycloak();
    open.tenant_claim = Some("org".into());
    let rules = open.build().expect("good");
    let answer = r#"{"active":true,"sub":"u","typ":"Bearer","org":"acme","realm_access":{"roles":["clerk"]}}"#;
    let principal = check(&rules, answer).expect("good").candidate.unbound().expect("unbound");
    assert!(principal.has_role("clerk"));
    assert_eq!(principal.tenant(), Some("acme"));
    assert_eq!(check(&rules, r#"{"active":true,"sub":"u"}"#).err(), Some(Reject::Missing(Claim::Custom)));
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let with = |change: fn(&mut Rules)| {
        let mut rules = Rules::new(backend(), "https://id.example".to_owned(), Some("orders".to_owned()));
        change(&mut rules);
        rules.build().is_err()
    };
    assert!(with(|rules| rules.leeway = Duration::from_secs(301)));
    assert!(with(|rules| rules.roles_at.push("roles".into())));
    assert!(with(|rules| rules.audiences.push("".into())));
    assert!(with(|rules| rules.issuer = "a\nb".into()));
}
