use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::json::JsonObject;
use sekisho_core::{Effect, Resource};

use super::*;

const SCHEMA: &str = r#"
    entity Team;
    entity User in [Team] { department?: String, tenant?: String, teams?: Set<Team>, nick?: String };
    entity Folder { owner: User };
    action read appliesTo { principal: User, resource: [User, Folder] };
"#;

fn builder() -> CedarBuilder {
    CedarPolicies::builder(SCHEMA)
        .with_issuer("https://id.example")
        .with_claim("department", "dept")
        .with_claim("teams", "teams")
        .with_parents_from("User", "teams")
}

fn asks_for(policies: &CedarPolicies, user: &str, attributes: &str) -> bool {
    let attributes = JsonObject::parse(attributes.as_bytes().to_vec()).unwrap();
    let resource = Resource::new("user", user).with_attributes(&attributes);
    policies
        .decide_now(&AccessRequest::new(&alice(), "read", resource, UnixSeconds::new(1)))
        .unwrap()
        .unwrap()
        .is_permitted()
}

#[test]
fn a_resource_that_is_the_principal_does_not_say_what_its_issuer_did_not() {
    let permit = |condition: &str| {
        let text = format!("@id(\"x\") permit(principal, action, resource) when {{ {condition} }};");
        builder().build(text).unwrap()
    };
    for (condition, attributes) in [
        ("principal has department && principal.department == \"sales\"", r#"{"department":"sales"}"#),
        ("principal has tenant && principal.tenant == \"acme\"", r#"{"tenant":"acme"}"#),
        ("principal in Team::\"admins\"", r#"{"teams":["admins"]}"#),
    ] {
        let policies = permit(condition);
        assert!(!asks_for(&policies, "alice", attributes), "{condition}");
        assert!(!asks_for(&policies, "bob", attributes), "{condition}");
        // Somebody else as a resource is described by the request.
        let policies = permit(&condition.replace("principal", "resource"));
        assert!(!asks_for(&policies, "alice", attributes), "{condition}");
        assert!(asks_for(&policies, "bob", attributes), "{condition}");
    }
    // What no claim stands for is the resource's own.
    let policies = permit("resource has nick && resource.nick == \"al\"");
    assert!(asks_for(&policies, "alice", r#"{"nick":"al"}"#));
}

#[test]
fn what_is_fixed_of_a_resource_wins() {
    let fixed = r#"[{"uid":{"type":"Folder","id":"1"},"attrs":{"owner":{"type":"User","id":"bob"}},"parents":[]}]"#;
    let own = "@id(\"own\") permit(principal, action, resource is Folder) when { resource.owner == principal };";
    let policies = builder().with_entities(fixed).build(own).unwrap();
    let attributes = JsonObject::parse(br#"{"owner":"alice"}"#.to_vec()).unwrap();
    for (id, is_permitted) in [("1", false), ("2", true)] {
        let resource = Resource::new("folder", id).with_attributes(&attributes);
        let decision = policies.decide_now(&AccessRequest::new(&alice(), "read", resource, UnixSeconds::new(1)));
        assert_eq!(decision.unwrap().unwrap().is_permitted(), is_permitted, "{id}");
    }
}

#[test]
fn parents_that_the_schema_rules_out_are_refused() {
    let schema = SCHEMA.replace("entity User in [Team]", "entity User");
    let wrong = CedarPolicies::builder(schema).with_issuer("x").with_parents_from("User", "teams");
    assert!(wrong.build("").unwrap_err().to_string().contains("`teams` of `User`"));
}

struct Blocked;

#[async_trait]
impl EntityProvider for Blocked {
    fn provides(&self, kind: &EntityTypeName) -> bool {
        kind.basename() == "Team"
    }

    async fn load(&self, uids: &[EntityUid]) -> Result<Vec<Entity>, Failure> {
        let zone: EntityUid = "Zone::\"blocked\"".parse().unwrap();
        Ok(uids.iter().map(|uid| Entity::new_no_attrs(uid.clone(), [zone.clone()].into())).collect())
    }
}

#[tokio::test]
async fn what_a_fixed_entity_leads_to_is_waited_for() {
    let schema = SCHEMA.replace("entity Team;", "entity Zone; entity Team in [Zone]; entity Site { guard: Team };");
    let fixed = r#"[{"uid":{"type":"Site","id":"here"},"attrs":{"guard":{"type":"Team","id":"a"}},"parents":[]}]"#;
    let text = r#"
        @id("all") permit(principal, action, resource);
        @id("blocked") forbid(principal, action, resource) when { Site::"here".guard in Zone::"blocked" };
    "#;
    let policies = CedarPolicies::builder(schema).with_issuer("https://id.example").with_entities(fixed);
    let policies = policies.with_provider(Blocked, ProviderLimits::default()).build(text).unwrap();
    let alice = alice();
    let request = AccessRequest::new(&alice, "read", Resource::new("folder", "1"), UnixSeconds::new(1));
    assert!(policies.decide_now(&request).is_none());
    assert_eq!(policies.decide(&request).await.unwrap().effect(), Effect::Deny);
}

#[tokio::test]
async fn a_filter_does_not_speak_of_what_a_row_does_not_settle() {
    let fixed = r#"[{"uid":{"type":"Folder","id":"1"},"attrs":{"owner":{"type":"User","id":"bob"}},"parents":[]}]"#;
    let with = |kind: &'static str, condition: &str| {
        let text = format!("@id(\"x\") permit(principal, action, resource) when {{ {condition} }};");
        let policies = builder().with_entities(fixed).build(text).unwrap();
        async move {
            let alice = PrincipalBuilder::new("https://id.example", "alice").build().unwrap();
            policies.filter(&AccessRequest::new(&alice, "read", Resource::new(kind, ""), UnixSeconds::new(1))).await
        }
    };
    assert!(with("folder", "resource is Folder && resource.owner == principal").await.is_err());
    for condition in ["resource has department", "!(resource has tenant)"] {
        assert!(with("user", &format!("resource is User && {condition}")).await.is_err(), "{condition}");
    }
    assert!(with("user", "resource is User && resource has nick && resource.nick == \"al\"").await.is_ok());
    assert_eq!(with("user", "true").await.unwrap(), crate::filter::Filter::All);
}
