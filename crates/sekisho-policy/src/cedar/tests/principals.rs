//! Filters where what the principal is in depends on the row, or on the request.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::json::JsonObject;
use sekisho_core::{AccessRequest, Authorize, Failure, FailureKind, Principal, Resource, UnixSeconds};
use serde_json::{Map, Value as Json, json};

use super::filters::matches;
use super::{CedarBuilder, CedarPolicies, Entity, EntityId, EntityProvider, EntityTypeName, EntityUid, ProviderLimits};
use crate::filter::Filter;

const SCHEMA: &str = r#"
    entity Org;
    entity Role;
    entity Team in [Org, Team] { org?: Org, parent?: Team };
    entity User in [Team, Role] { team?: Team, manager?: User, teams?: Set<Team> };
    entity Device in [User];
    entity Doc { owner: User, device?: Device, team?: Team };
    action read appliesTo { principal: User, resource: [Team, User, Doc], context: { now: Long, reviewer?: User } };
"#;

/// Provides users, or devices. Knows no roles: those are in the tokens.
struct Provided {
    kind: &'static str,
    parent: &'static str,
}

#[async_trait]
impl EntityProvider for Provided {
    fn provides(&self, kind: &EntityTypeName) -> bool {
        kind.basename() == self.kind
    }

    async fn load(&self, uids: &[EntityUid]) -> Result<Vec<Entity>, Failure> {
        let parents: HashSet<EntityUid> = [self.parent.parse().unwrap()].into();
        let is_known = |uid: &&EntityUid| ["alice", "phone"].contains(&uid.id().unescaped());
        Ok(uids.iter().filter(is_known).map(|uid| Entity::new_no_attrs(uid.clone(), parents.clone())).collect())
    }

    async fn descendants(&self, ancestor: &EntityUid, kind: &EntityTypeName) -> Result<Option<Vec<EntityId>>, Failure> {
        assert_eq!(kind.basename(), "Device");
        let is_parent = ancestor.to_string() == self.parent;
        Ok(Some(is_parent.then(|| EntityId::new("phone")).into_iter().collect()))
    }
}

fn bare() -> CedarBuilder {
    CedarPolicies::builder(SCHEMA).with_issuer("https://id.example")
}

fn provided(builder: CedarBuilder, kind: &'static str, parent: &'static str) -> CedarBuilder {
    let limits = ProviderLimits { time: Duration::from_secs(60), ..ProviderLimits::default() };
    builder.with_provider(Provided { kind, parent }, limits)
}

fn alice() -> PrincipalBuilder {
    PrincipalBuilder::new("https://id.example", "alice")
}

const NOW: UnixSeconds = UnixSeconds::new(7);

async fn filter(policies: &CedarPolicies, who: &Principal, kind: &str) -> Result<Filter, FailureKind> {
    let context = JsonObject::parse(br#"{"reviewer":"bob"}"#.to_vec()).unwrap();
    let request = AccessRequest::new(who, "read", Resource::new(kind, ""), NOW).with_context(&context);
    policies.filter(&request).await.map_err(|failure| failure.kind())
}

async fn is_permitted(policies: &CedarPolicies, who: &Principal, kind: &str, id: &str, row: &Json) -> bool {
    let context = JsonObject::parse(br#"{"reviewer":"bob"}"#.to_vec()).unwrap();
    let row = JsonObject::from_serialize(row).unwrap();
    let resource = Resource::new(kind, id).with_attributes(&row);
    let request = AccessRequest::new(who, "read", resource, NOW).with_context(&context);
    policies.decide(&request).await.unwrap().is_permitted()
}

const ALICE_IN_A: &str = r#"[{"uid":{"type":"User","id":"alice"},"attrs":{},"parents":[{"type":"Team","id":"a"}]}]"#;
const BOB_IN_A: &str = r#"[
    {"uid":{"type":"User","id":"alice"},"attrs":{"manager":{"type":"User","id":"bob"}},"parents":[]},
    {"uid":{"type":"User","id":"bob"},"attrs":{},"parents":[{"type":"Team","id":"a"}]}
]"#;

#[tokio::test]
async fn a_row_that_says_in_what_the_principal_is_gives_no_filter() {
    let (by_org, by_parent) = (bare().with_parents_from("Team", "org"), bare().with_parents_from("Team", "parent"));
    let own = bare().with_parents_from("User", "team");
    let in_a = |builder: &CedarBuilder| builder.clone().with_entities(ALICE_IN_A);
    let bob_in_a = || by_org.clone().with_entities(BOB_IN_A);
    let (suspended, blocked) = (json!({"org": "suspended"}), json!({"parent": "blocked"}));
    let forbidden = "forbid(principal in Org::\"suspended\", action, resource);";
    let unless = |condition: &str| format!("forbid(principal, action, resource) when {{ {condition} }};");
    let in_org = unless("principal in Org::\"suspended\"");
    let blocked_team = "forbid(principal in Team::\"blocked\", action, resource);";
    let alice = alice().build().unwrap();
    for (builder, kind, id, row, forbid) in [
        (in_a(&by_org), "team", "a", &suspended, forbidden.to_owned()),
        (in_a(&by_org), "team", "a", &suspended, in_org.clone()),
        (provided(by_org.clone(), "User", "Team::\"a\""), "team", "a", &suspended, forbidden.to_owned()),
        (provided(by_org.clone(), "User", "Team::\"a\""), "team", "a", &suspended, in_org),
        (
            bob_in_a(),
            "team",
            "a",
            &suspended,
            unless("principal has manager && principal.manager in Org::\"suspended\""),
        ),
        (bob_in_a(), "team", "a", &suspended, unless("context has reviewer && context.reviewer in Org::\"suspended\"")),
        (in_a(&by_parent), "team", "a", &blocked, blocked_team.to_owned()),
        (own, "user", "alice", &json!({"team": "blocked"}), blocked_team.to_owned()),
    ] {
        let forbid = format!("@id(\"p\") permit(principal, action, resource); @id(\"f\") {forbid}");
        let policies = builder.build(&forbid).unwrap();
        assert!(!is_permitted(&policies, &alice, kind, id, row).await, "{forbid}");
        assert!(is_permitted(&policies, &alice, kind, id, &json!({})).await, "{forbid}");
        assert_eq!(filter(&policies, &alice, kind).await, Err(FailureKind::Misconfigured), "{forbid}");
        // Of other resources, whose rows say nothing of teams, there is one.
        assert_eq!(filter(&policies, &alice, "doc").await.map(|_| ()), Ok(()), "{forbid}");
    }
    // What her issuer says of her teams, her row does not.
    let claimed = bare().with_parents_from("User", "team").with_claim("team", "team");
    let text = format!("@id(\"p\") permit(principal, action, resource); @id(\"f\") {blocked_team}");
    let policies = claimed.build(text).unwrap();
    assert!(is_permitted(&policies, &alice, "user", "alice", &json!({"team": "blocked"})).await);
    assert_eq!(filter(&policies, &alice, "user").await, Ok(Filter::All));
    // She is in no team, so no team's row can say in what she is.
    let policies =
        by_org.build(format!("@id(\"p\") permit(principal, action, resource); @id(\"f\") {forbidden}")).unwrap();
    assert!(is_permitted(&policies, &alice, "team", "a", &suspended).await);
    assert_eq!(filter(&policies, &alice, "team").await, Ok(Filter::All));
}

#[tokio::test]
async fn what_is_in_the_principal_is_in_the_roles_of_the_request() {
    let text = "@id(\"p\") permit(principal, action, resource is Doc);
        @id(\"f\") forbid(principal, action, resource is Doc) when { resource has device && resource.device in Role::\"trainee\" };";
    let fixed = r#"[{"uid":{"type":"Device","id":"phone"},"attrs":{},"parents":[{"type":"User","id":"alice"}]}]"#;
    for builder in [bare().with_entities(fixed), provided(bare(), "Device", "User::\"alice\"")] {
        let policies = builder.build(text).unwrap();
        for (role, device, expected) in
            [("trainee", "phone", false), ("trainee", "other", true), ("staff", "phone", true)]
        {
            let alice = alice().with_roles([role]).build().unwrap();
            let row = json!({"owner": "bob", "device": device});
            assert_eq!(is_permitted(&policies, &alice, "doc", "1", &row).await, expected);
            let Ok(Filter::Where(expression)) = filter(&policies, &alice, "doc").await else { panic!("a filter") };
            assert_eq!(matches(&expression, "1", row.as_object().unwrap()), expected, "{role} {device} {expression:?}");
        }
    }
}

fn with_teams(count: usize) -> Principal {
    let teams: Vec<String> = (0..count).map(|number| format!("t{number}")).collect();
    alice().with_claim("teams", json!(teams)).build().unwrap()
}

#[tokio::test]
async fn a_claim_with_too_many_entities_gives_no_filter() {
    for condition in
        ["resource.owner in principal.teams", "resource has team && principal.teams.contains(resource.team)"]
    {
        let text = |number: usize| {
            format!(
                "@id(\"{number}\") permit(principal, action, resource is Doc) when {{ principal has teams && {condition} }};"
            )
        };
        let tell = async |policies: usize, teams: usize| {
            let texts: Vec<_> = (0..policies).map(text).collect();
            let policies = bare().with_claim("teams", "teams").build(texts.join("\n")).unwrap();
            filter(&policies, &with_teams(teams), "doc").await.map(|_| ())
        };
        assert_eq!(tell(1, 3_900).await, Ok(()), "{condition}");
        assert_eq!(tell(1, 4_001).await, Err(FailureKind::Misconfigured), "{condition}");
        // All policies together.
        assert_eq!(tell(4, 1_100).await, Err(FailureKind::Misconfigured), "{condition}");
    }
}

#[tokio::test]
async fn a_provider_is_asked_for_a_bounded_number_of_lists() {
    let text = "@id(\"p\") permit(principal, action, resource is Doc) when { principal has devices && resource has device && resource.device in principal.devices };";
    let schema = SCHEMA.replace("teams?: Set<Team> }", "devices?: Set<User> }");
    let builder = CedarPolicies::builder(schema).with_issuer("https://id.example").with_claim("devices", "teams");
    let builder = provided(builder, "Device", "User::\"alice\"");
    let policies = builder.build(text).unwrap();
    assert_eq!(filter(&policies, &with_teams(1_000), "doc").await, Ok(Filter::None));
    assert_eq!(filter(&policies, &with_teams(1_001), "doc").await, Err(FailureKind::Misconfigured));
}

#[tokio::test]
async fn many_targets_among_many_fixed_entities_are_found_in_one_pass() {
    let user = |number: usize| json!({"uid": {"type": "User", "id": format!("u{number}")}, "attrs": {}, "parents": [{"type": "Team", "id": "t1"}]});
    let fixed = Json::Array(
        (0..900)
            .map(user)
            .chain((900..10_000).map(|number| {
                let mut user = user(number);
                user["parents"][0]["id"] = json!("elsewhere");
                user
            }))
            .collect(),
    );
    let text = "@id(\"p\") permit(principal, action, resource is Doc) when { principal has teams && resource.owner in principal.teams };";
    let policies = bare().with_claim("teams", "teams").with_entities(fixed.to_string()).build(text).unwrap();
    let (alice, start) = (with_teams(3_000), Instant::now());
    let Ok(Filter::Where(expression)) = filter(&policies, &alice, "doc").await else { panic!("a filter") };
    // A pass for each target takes a minute; this, a thirtieth of a second.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let row = |owner: &str| Map::from_iter([("owner".to_owned(), json!(owner))]);
    assert!(matches(&expression, "1", &row("u899")) && !matches(&expression, "1", &row("u900")));
}
