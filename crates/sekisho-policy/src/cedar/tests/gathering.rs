use std::collections::BTreeMap;

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use sekisho_core::Resource;
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::json::JsonObject;
use serde_json::{Map, Value, json};

use super::*;

const SCHEMA: &str = r#"
    entity Group in [Group] { lead?: User };
    entity User in [Group] { level: Long, boss?: User };
    entity Doc in [Doc, Group] { owner: User, level: Long, group?: Group };
    action read, write appliesTo { principal: User, resource: Doc, context: { now: Long } };
"#;

type Kept = BTreeMap<(&'static str, usize), (Map<String, Value>, Vec<(&'static str, usize)>)>;

struct Dice(TestRng);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        (self.0.next_u32() as usize) % end
    }

    fn maybe(&mut self, attributes: &mut Map<String, Value>, name: &str, kind: &str) {
        if self.below(2) == 0 {
            attributes.insert(name.into(), reference(kind, self.below(4)));
        }
    }

    /// Parents have a higher number, so there is no circle.
    fn entities(&mut self) -> Kept {
        let mut all = Kept::new();
        for kind in ["Group", "User", "Doc"] {
            for number in 0..4 {
                if self.below(5) == 0 {
                    continue;
                }
                let mut attributes = Map::new();
                if kind != "Group" {
                    attributes.insert("level".into(), json!(self.below(4)));
                }
                match kind {
                    "Group" => self.maybe(&mut attributes, "lead", "User"),
                    "User" => self.maybe(&mut attributes, "boss", "User"),
                    _ => {
                        attributes.insert("owner".into(), reference("User", self.below(4)));
                        self.maybe(&mut attributes, "group", "Group");
                    }
                }
                let mut parents = Vec::new();
                while number < 3 && self.below(2) == 0 {
                    let above = number + 1 + self.below(3 - number);
                    parents.push((if kind == "Doc" && self.below(2) == 0 { "Doc" } else { "Group" }, above));
                }
                all.insert((kind, number), (attributes, parents));
            }
        }
        all
    }

    fn condition(&mut self) -> String {
        let (one, two, level) = (self.below(4), self.below(4), self.below(4));
        match self.below(15) {
            0 => "resource.owner == principal".to_owned(),
            1 => format!("resource.level > {level}"),
            2 => format!("principal in Group::\"{one}\""),
            3 => format!("resource.owner in Group::\"{one}\""),
            4 => "resource has group && principal in resource.group".to_owned(),
            5 => format!("User::\"{one}\".level > {level}"),
            6 => format!("User::\"{one}\" in Group::\"{two}\""),
            7 => format!("resource.owner.level > {level}"),
            8 => format!("principal has boss && principal.boss in Group::\"{one}\""),
            9 => {
                let user = format!("User::\"{one}\"");
                format!("{user} has boss && {user}.boss has boss && {user}.boss.boss == principal")
            }
            10 => format!("Group::\"{one}\" has lead && Group::\"{one}\".lead.level > {level}"),
            11 => "resource.level * 9223372036854775807 > 0".to_owned(),
            12 => format!("resource in [Group::\"{one}\", Group::\"{two}\"]"),
            13 => format!("Group::\"{one}\" has lead && Group::\"{one}\".lead in Group::\"{two}\""),
            _ => format!("if principal.level > {level} then Doc::\"{one}\".owner == principal else true"),
        }
    }

    fn policy(&mut self, number: usize) -> String {
        let effect = ["permit", "permit", "forbid"][self.below(3)];
        let principal = match self.below(4) {
            0 => format!("principal in Group::\"{}\"", self.below(4)),
            1 => format!("principal == User::\"{}\"", self.below(4)),
            _ => "principal".to_owned(),
        };
        let resource = match self.below(4) {
            0 => format!("resource in Group::\"{}\"", self.below(4)),
            1 => format!("resource is Doc in Doc::\"{}\"", self.below(4)),
            _ => "resource".to_owned(),
        };
        let action =
            ["action", "action == Action::\"read\"", "action in [Action::\"read\", Action::\"write\"]"][self.below(3)];
        let word = ["when", "unless"][self.below(2)];
        format!("@id(\"{number}\") {effect}({principal}, {action}, {resource}) {word} {{ {} }};", self.condition())
    }
}

fn reference(kind: &str, number: usize) -> Value {
    json!({ "__entity": { "type": kind, "id": number.to_string() } })
}

fn written<'a>(
    all: impl Iterator<Item = (&'a (&'static str, usize), &'a (Map<String, Value>, Vec<(&'static str, usize)>))>,
) -> Value {
    let uid = |(kind, number): (&str, usize)| json!({ "type": kind, "id": number.to_string() });
    all.map(|(name, (attributes, parents))| {
        let parents: Vec<_> = parents.iter().copied().map(uid).collect();
        json!({ "uid": uid(*name), "attrs": attributes, "parents": parents })
    })
    .collect()
}

/// Provides entities of some types, each with its direct parents only.
struct Store {
    kinds: &'static [&'static str],
    all: Kept,
}

#[async_trait]
impl EntityProvider for Store {
    fn provides(&self, kind: &EntityTypeName) -> bool {
        self.kinds.contains(&kind.basename())
    }

    async fn load(&self, uids: &[EntityUid]) -> Result<Vec<Entity>, Failure> {
        assert!(uids.iter().all(|uid| self.provides(uid.type_name())));
        let asked = |(kind, number): &(&str, usize)| uids.contains(&format!("{kind}::\"{number}\"").parse().unwrap());
        let found = self.all.iter().filter(|(name, _)| asked(name));
        let one_by_one = found.map(|one| Entity::from_json_value(written([one].into_iter())[0].clone(), None).unwrap());
        Ok(one_by_one.collect())
    }
}

#[tokio::test]
async fn a_decision_is_that_of_the_engine_with_all_entities() {
    let mut dice = Dice(TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let mut counts = BTreeMap::new();
    let mut waited = 0;
    for round in 0..240 {
        let all = dice.entities();
        let text = (0..2 + dice.below(6)).map(|number| dice.policy(number)).collect::<Vec<_>>().join("\n");
        let provided: &[&str] = [&[][..], &["User"], &["Group", "Doc"], &["User", "Group", "Doc"]][round % 4];
        let fixed = written(all.iter().filter(|((kind, _), _)| !provided.contains(kind)));
        let builder = CedarPolicies::builder(SCHEMA).with_issuer("https://id.example").with_claim("level", "level");
        let mut builder = builder.with_entities(fixed.to_string());
        if !provided.is_empty() {
            let limits =
                ProviderLimits { rounds: 20, time: std::time::Duration::from_secs(60), ..ProviderLimits::default() };
            builder = builder.with_provider(Store { kinds: provided, all: all.clone() }, limits);
        }
        let policies = builder.build(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let set = super::equality::named(&text);
        for _ in 0..12 {
            let (who, what) = (dice.below(5), dice.below(5));
            let action = ["read", "write"][dice.below(2)];
            let (own, level, owner) = (dice.below(4), dice.below(4), dice.below(4));
            // What is known of the two wins over what the request says.
            let mut whole = all.clone();
            let user = whole.entry(("User", who)).or_default();
            user.0.entry("level").or_insert(json!(own));
            let doc = whole.entry(("Doc", what)).or_default();
            doc.0.entry("level").or_insert(json!(level));
            doc.0.entry("owner").or_insert(reference("User", owner));
            let whole = Entities::from_json_value(written(whole.iter()), None).unwrap();
            let uid = |text: String| text.parse::<EntityUid>().unwrap();
            let context = Context::from_pairs([("now".to_owned(), RestrictedExpression::new_long(7))]).unwrap();
            let names = [format!("User::\"{who}\""), format!("Action::\"{action}\""), format!("Doc::\"{what}\"")];
            let [principal, act, resource] = names.map(uid);
            let asked = Request::new(principal, act, resource, context, None).unwrap();
            let response = cedar_policy::Authorizer::new().is_authorized(&asked, &set, &whole);
            let wanted = super::equality::wanted(&response, &set);
            let who = PrincipalBuilder::new("https://id.example", who.to_string()).with_claim("level", own);
            let who = who.build().unwrap();
            let attributes = json!({ "level": level, "owner": owner.to_string() });
            let attributes = JsonObject::from_serialize(&attributes).unwrap();
            let (what, now) = (what.to_string(), UnixSeconds::new(7));
            let request =
                AccessRequest::new(&who, action, Resource::new("doc", &what).with_attributes(&attributes), now);
            let at_once = policies.decide_now(&request);
            waited += usize::from(at_once.is_none());
            for ours in [at_once, Some(policies.decide(&request).await)].into_iter().flatten() {
                let ours = ours.unwrap_or_else(|error| panic!("round {round}: {error:?}\n{text}"));
                let said = super::equality::said(&ours, &policies);
                assert_eq!(said, wanted, "round {round}: {asked}\n{text}\n{all:?}");
            }
            *counts.entry(wanted.0.as_str()).or_insert(0) += 1;
        }
    }
    assert!(waited > 1_000, "{waited}");
    assert!(counts.len() == 3 && counts.values().all(|count| *count > 300), "{counts:?}");
}
