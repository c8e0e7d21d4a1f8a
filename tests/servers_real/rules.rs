//! Audience, scope and role rules of an axum service, by Keycloak's tokens.

use reqwest::Method;

use crate::keycloak::Keycloak;
use crate::service::Service;

#[tokio::test]
async fn an_axum_service_keeps_its_rules_for_real_tokens() {
    let Some(keycloak) = Keycloak::reach("audience, scope and role rules").await else { return };
    let service = Service::start(keycloak.jwt().build().expect("a verifier")).await;
    let reader = keycloak.client_token("worker", "orders:read").await;
    let writer = keycloak.client_token("worker", "orders:write").await;
    let bare = keycloak.client_token("worker", "").await;
    let light = keycloak.client_token("worker-light", "orders:read").await;
    let alice = keycloak.password_grant("alice", "orders:write").await;
    let bob = keycloak.password_grant("bob", "orders:write").await;
    let bob_reads = keycloak.password_grant("bob", "orders:read").await;

    let passes = [
        ("GET", "/me", &bare),
        ("GET", "/orders", &reader),
        ("POST", "/orders", &writer),
        ("GET", "/orders", &light),
        ("POST", "/orders", &alice.access),
        ("GET", "/clerks", &alice.access),
        ("GET", "/approve", &alice.access),
        ("GET", "/export", &alice.access),
        ("GET", "/export", &bare),
        ("POST", "/orders", &bob.access),
    ];
    for (method, path, token) in passes {
        let answer = service.send(method.parse().expect("a method"), path, Some(token)).await;
        assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
        assert!(answer.body["subject"].is_string(), "{answer:?}");
    }

    let lacks_scope = [
        ("GET", "/orders", &bare, "orders:read"),
        ("GET", "/orders", &writer, "orders:read"),
        ("POST", "/orders", &reader, "orders:write"),
        ("POST", "/orders", &light, "orders:write"),
        ("POST", "/orders", &bob_reads.access, "orders:write"),
    ];
    for (method, path, token, scope) in lacks_scope {
        let answer = service.send(method.parse().expect("a method"), path, Some(token)).await;
        assert_eq!(answer.status, 403, "{method} {path}: {answer:?}");
        assert!(answer.challenge.contains(r#"error="insufficient_scope""#), "{answer:?}");
        assert!(answer.challenge.contains(&format!(r#"scope="{scope}""#)), "{answer:?}");
    }

    for (path, token) in [
        ("/clerks", &bob.access),
        ("/clerks", &bare),
        ("/clerks", &light),
        ("/approve", &bob.access),
        ("/approve", &writer),
        ("/export", &bob.access),
        ("/export", &light),
    ] {
        let answer = service.get(path, token).await;
        assert_eq!(answer.status, 403, "{path}: {answer:?}");
    }

    let billing = keycloak.client_token("worker-billing", "orders:read").await;
    let admin = keycloak.admin_token().await;
    for token in [&billing, &alice.id, &alice.refresh, &admin] {
        let answer = service.get("/me", token).await;
        assert_eq!(answer.status, 401, "{answer:?}");
        assert!(answer.challenge.contains(r#"error="invalid_token""#), "{answer:?}");
    }
    let nobody = service.send(Method::GET, "/me", None).await;
    assert_eq!(nobody.status, 401);
    assert!(nobody.challenge.starts_with("Bearer") && !nobody.challenge.contains("error"), "{nobody:?}");
    let in_query = service.send(Method::GET, &format!("/me?access_token={bare}"), None).await;
    assert_eq!(in_query.status, 401);
}
