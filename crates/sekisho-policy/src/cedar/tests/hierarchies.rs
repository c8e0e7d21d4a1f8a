use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::json::JsonObject;
use sekisho_core::{AccessRequest, Authorize, Effect, Failure, FailureKind, Principal, Resource, UnixSeconds};
use serde_json::{Map, Value as Json, json};

use super::filters::matches;
use super::{CedarBuilder, CedarPolicies, Entity, EntityId, EntityProvider, EntityTypeName, EntityUid, ProviderLimits};
use crate::filter::Filter;

const SCHEMA: &str = r#"
    entity Role;
    entity Team in [Team];
    entity User in [Role, Team];
    entity Folder in [Folder];
    entity Doc in [Folder, Doc] { owner: User, folder?: Folder, parent?: Doc, team?: Team, other?: Doc };
    entity Note in [Folder] { places?: Set<Folder>, place?: Folder };
    entity Loop in [Ring] { ring?: Ring };
    entity Ring in [Loop];
    action read appliesTo { principal: User, resource: [Doc, Note, Team, User, Loop], context: { now: Long } };
"#;

/// Folders `0` to `7`: each is in the one of half its number, so all are in `1`, but for `0`.
struct Folders {
    lists: bool,
    delay: Duration,
}

fn folder(number: usize) -> EntityUid {
    format!("Folder::\"{number}\"").parse().unwrap()
}

#[async_trait]
impl EntityProvider for Folders {
    fn provides(&self, kind: &EntityTypeName) -> bool {
        kind.basename() == "Folder"
    }

    async fn load(&self, uids: &[EntityUid]) -> Result<Vec<Entity>, Failure> {
        let number = |uid: &EntityUid| uid.id().unescaped().parse::<usize>().ok().filter(|number| *number < 8);
        let one = |uid: &EntityUid| {
            let parents = number(uid).filter(|number| *number > 1).map(|number| folder(number / 2));
            Some(Entity::new_no_attrs(uid.clone(), parents.into_iter().collect::<HashSet<_>>()))
                .filter(|_| number(uid).is_some())
        };
        Ok(uids.iter().filter_map(one).collect())
    }

    async fn descendants(&self, ancestor: &EntityUid, kind: &EntityTypeName) -> Result<Option<Vec<EntityId>>, Failure> {
        tokio::time::sleep(self.delay).await;
        assert_eq!(kind.basename(), "Folder");
        let target: usize = ancestor.id().unescaped().parse().unwrap_or(100);
        let is_in = |number: &usize| {
            std::iter::successors(Some(*number), |number| Some(number / 2).filter(|n| *n > 0))
                .any(|number| number == target)
        };
        let found = (0..8).filter(is_in).map(|number| EntityId::new(number.to_string()));
        Ok(self.lists.then(|| found.collect()))
    }
}

fn builder() -> CedarBuilder {
    let builder = CedarPolicies::builder(SCHEMA).with_issuer("https://id.example");
    builder.with_parents_from("Doc", "folder").with_parents_from("Doc", "parent")
}

fn alice() -> Principal {
    PrincipalBuilder::new("https://id.example", "alice").with_roles(["support"]).build().unwrap()
}

async fn filter(policies: &CedarPolicies, kind: &str) -> Result<Filter, Failure> {
    let alice = alice();
    policies.filter(&AccessRequest::new(&alice, "read", Resource::new(kind, ""), UnixSeconds::new(7))).await
}

/// Asserts that a filter shows of all rows those that are permitted, and returns their number.
async fn agree(builder: &CedarBuilder, condition: &str) -> usize {
    let text = format!(
        "@id(\"p\") permit(principal, action, resource is Doc) when {{ {condition} }};
         @id(\"q\") permit(principal, action, resource is Doc) when {{ resource has folder && resource.folder == Folder::\"q\" }};
         @id(\"f\") forbid(principal, action, resource is Doc) when {{ !({condition}) && resource.owner == User::\"bob\" }};"
    );
    let policies = builder.build(&text).unwrap_or_else(|error| panic!("{error}"));
    let filter = filter(&policies, "doc").await.unwrap_or_else(|error| panic!("{error:?} {condition}"));
    let mut shown = BTreeSet::new();
    let options = |names: &[&'static str]| names.iter().copied().map(Some).chain([None]).collect::<Vec<_>>();
    let alice = alice();
    for id in ["1", "2"] {
        for owner in ["alice", "bob", "carol"] {
            for folder in options(&["1", "3", "5", "q"]) {
                for parent in options(&["1", "5"]) {
                    for team in options(&["a", "c"]) {
                        let mut row = Map::new();
                        row.insert("owner".into(), json!(owner));
                        let values = [("folder", folder), ("parent", parent), ("team", team)];
                        let values =
                            values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?))));
                        row.extend(values);
                        let is_shown = match &filter {
                            Filter::All => true,
                            Filter::None => false,
                            Filter::Where(expression) => matches(expression, id, &row),
                        };
                        let is_permitted = is_permitted(&policies, &alice, id, &row).await;
                        assert_eq!(is_shown, is_permitted, "{condition} {id} {row:?} {filter:?}");
                        if is_shown {
                            shown.insert((id, owner, folder, parent, team));
                        }
                    }
                }
            }
        }
    }
    shown.len()
}

async fn is_permitted(policies: &CedarPolicies, who: &Principal, id: &str, row: &Map<String, Json>) -> bool {
    let row = JsonObject::from_serialize(row).unwrap();
    let resource = Resource::new("doc", id).with_attributes(&row);
    let decision = policies.decide(&AccessRequest::new(who, "read", resource, UnixSeconds::new(7))).await;
    // Its own parent: there is no decision.
    decision.is_ok_and(|decision| decision.effect() == Effect::Permit)
}

const CONDITIONS: [&str; 9] = [
    "resource in Folder::\"1\"",
    "resource in [Folder::\"2\", Folder::\"q\"] || resource in Doc::\"5\"",
    "resource in Doc::\"1\"",
    "resource has folder && resource.folder in Folder::\"2\"",
    "resource.owner in Role::\"support\"",
    "resource.owner in Team::\"b\"",
    "principal in Team::\"b\" && resource has team && principal in resource.team",
    "resource has team && resource.team in Team::\"b\"",
    "principal in resource.owner && !(resource in Folder::\"3\")",
];

const FIXED: &str = r#"[
    {"uid": {"type": "Folder", "id": "2"}, "attrs": {}, "parents": [{"type": "Folder", "id": "1"}]},
    {"uid": {"type": "Folder", "id": "5"}, "attrs": {}, "parents": [{"type": "Folder", "id": "2"}]},
    {"uid": {"type": "Team", "id": "a"}, "attrs": {}, "parents": [{"type": "Team", "id": "b"}]},
    {"uid": {"type": "User", "id": "carol"}, "attrs": {}, "parents": [{"type": "Team", "id": "a"}]},
    {"uid": {"type": "User", "id": "alice"}, "attrs": {}, "parents": [{"type": "Team", "id": "a"}]}
]"#;

#[tokio::test]
async fn rows_below_an_entity_are_those_that_decisions_find_below_it() {
    let teams: Vec<Json> = serde_json::from_str(FIXED).unwrap();
    let teams = Json::Array(teams.into_iter().filter(|entity| entity["uid"]["type"] != "Folder").collect());
    let provider = Folders { lists: true, delay: Duration::ZERO };
    let limits = ProviderLimits { time: Duration::from_secs(60), ..ProviderLimits::default() };
    let provided = builder().with_entities(teams.to_string()).with_provider(provider, limits);
    for condition in CONDITIONS {
        let by_fixed = agree(&builder().with_entities(FIXED), condition).await;
        let by_provider = agree(&provided, condition).await;
        assert!(by_fixed > 10 && by_provider > 10, "{condition} {by_fixed} {by_provider}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_does_not_list_or_lists_too_much_or_too_late_gives_no_filter() {
    let text = "@id(\"p\") permit(principal, action, resource is Doc) when { resource in Folder::\"1\" };";
    let tell = async |provider: Folders, limits: ProviderLimits| {
        let policies = builder().with_provider(provider, limits).build(text).unwrap();
        filter(&policies, "doc").await.map_err(|failure| failure.kind())
    };
    let (now, limits) = (Duration::ZERO, ProviderLimits::default());
    assert!(tell(Folders { lists: true, delay: now }, limits).await.is_ok());
    assert_eq!(tell(Folders { lists: false, delay: now }, limits).await, Err(FailureKind::Misconfigured));
    let few = ProviderLimits { entities: 6, ..limits };
    assert_eq!(tell(Folders { lists: true, delay: now }, few).await, Err(FailureKind::Misconfigured));
    let late = limits.time + Duration::from_millis(1);
    assert_eq!(tell(Folders { lists: true, delay: late }, limits).await, Err(FailureKind::Unavailable));
}

#[tokio::test]
async fn a_hierarchy_that_columns_do_not_tell_is_refused() {
    let bare = || CedarPolicies::builder(SCHEMA).with_issuer("https://id.example");
    let in_folder = |kind: &str| format!("@id(\"p\") permit(principal, action, resource is {kind} in Folder::\"1\");");
    let when = |kind: &str, condition: &str| {
        format!("@id(\"p\") permit(principal, action, resource is {kind}) when {{ {condition} }};")
    };
    let fixed = |json: &str| builder().with_entities(json);
    for (builder, kind, policy) in [
        // Nothing says what the parents are.
        (bare(), "doc", in_folder("Doc")),
        // They are a set.
        (bare().with_parents_from("Note", "places"), "note", in_folder("Note")),
        // Some rows have others besides.
        (
            fixed(
                r#"[{"uid":{"type":"Doc","id":"9"},"attrs":{"owner":{"type":"User","id":"x"}},"parents":[{"type":"Folder","id":"1"}]}]"#,
            ),
            "doc",
            in_folder("Doc"),
        ),
        (
            fixed(
                r#"[{"uid":{"type":"Doc","id":"9"},"attrs":{"owner":{"type":"User","id":"x"},"folder":{"type":"Folder","id":"1"}},"parents":[]}]"#,
            ),
            "doc",
            in_folder("Doc"),
        ),
        // The resource may be the principal, who has roles.
        (bare(), "user", when("User", "resource in Role::\"support\"")),
        // The other document may be the resource itself.
        (builder(), "doc", when("Doc", "resource has other && resource.other in Folder::\"1\"")),
        // What holds a ring may be the resource.
        (bare().with_parents_from("Loop", "ring"), "loop", when("Loop", "resource in Ring::\"1\"")),
        (bare(), "loop", when("Loop", "resource has ring && resource.ring in Loop::\"1\"")),
        // Who else is in a team is not known.
        (bare(), "doc", when("Doc", "resource has team && User::\"bob\" in resource.team")),
        (bare(), "doc", when("Doc", "resource.owner in resource.team && resource has team")),
    ] {
        let Ok(policies) = builder.build(&policy) else {
            assert!(policy.contains("resource.owner in resource.team"), "{policy}");
            continue;
        };
        let refused = filter(&policies, kind).await.expect_err(&policy);
        assert_eq!(refused.kind(), FailureKind::Misconfigured, "{policy}");
    }
    // The teams that she is in.
    let policies = fixed(FIXED).build(when("Team", "principal in resource")).unwrap();
    let Ok(Filter::Where(teams)) = filter(&policies, "team").await else { panic!("a filter") };
    let shown: Vec<_> = ["a", "b", "c", "A"].into_iter().filter(|id| matches(&teams, id, &Map::new())).collect();
    assert_eq!(shown, ["a", "b"]);
}
