use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cedar_policy::{Authorizer, Policy, PolicySet, Response};
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::json::JsonObject;
use sekisho_core::{Effect, Principal, Resource};
use serde_json::json;

use super::super::copy::OwnSelections;
use super::super::index::Index;
use super::*;

/// Parses policies under the names that they give themselves.
pub(super) fn named(text: &str) -> PolicySet {
    let set: PolicySet = text.parse().unwrap();
    let named = |policy: &Policy| policy.new_id(PolicyId::new(policy.annotation("id").unwrap()));
    PolicySet::from_policies(set.policies().map(named)).unwrap()
}

/// Says what a decision has to be, with its reasons in order of their names, after the engine has answered by the whole set.
pub(super) fn wanted(response: &Response, set: &PolicySet) -> (Effect, Vec<String>) {
    let mut reasons: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
    let failed: Vec<&PolicyId> = response
        .diagnostics()
        .errors()
        .map(|cedar_policy::AuthorizationError::PolicyEvaluationError(error)| error.policy_id())
        .collect();
    let is_allowed = response.decision() == cedar_policy::Decision::Allow;
    let cannot_tell = failed.iter().any(|id| set.policy(id).unwrap().effect() == cedar_policy::Effect::Forbid);
    let effect = match (is_allowed, reasons.is_empty()) {
        _ if cannot_tell => Effect::Deny,
        (true, _) => Effect::Permit,
        (false, true) => Effect::NotApplicable,
        (false, false) => Effect::Deny,
    };
    if cannot_tell && is_allowed {
        reasons.clear();
    }
    reasons.extend(failed.iter().map(|id| format!("cannot be evaluated: `{id}`")));
    reasons.sort();
    (effect, reasons)
}

/// Says the same of one of our decisions, which must be of these policies.
pub(super) fn said(decision: &Decision, policies: &CedarPolicies) -> (Effect, Vec<String>) {
    assert_eq!(decision.revision(), Some(policies.revision()));
    let mut reasons: Vec<String> = decision.reasons().iter().map(|reason| reason.policy().to_owned()).collect();
    reasons.sort();
    (decision.effect(), reasons)
}

const ISSUER: &str = "https://id.example";
const KINDS: [&str; 3] = ["User", "Group", "Doc"];

type World = HashMap<EntityUid, Entity>;

/// Provides the entities of the moment, those of some types.
struct Moment(&'static [&'static str], Mutex<World>);

#[async_trait]
impl EntityProvider for Arc<Moment> {
    fn provides(&self, kind: &EntityTypeName) -> bool {
        self.0.contains(&kind.basename())
    }

    async fn load(&self, uids: &[EntityUid]) -> Result<Vec<Entity>, Failure> {
        assert!(uids.iter().all(|uid| self.provides(uid.type_name())));
        let world = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(uids.iter().filter_map(|uid| world.get(uid).cloned()).collect())
    }
}

struct Dice(TestRng);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        (self.0.next_u32() as usize) % end
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn level(&mut self) -> i64 {
        i64::try_from(self.below(5)).unwrap()
    }

    fn entity(&mut self) -> String {
        let kind = self.pick(&KINDS);
        format!("{kind}::\"{}\"", self.below(5))
    }

    fn scope(&mut self, variable: &str) -> String {
        let kind = self.pick(&KINDS);
        match self.below(6) {
            0 | 1 => variable.to_owned(),
            2 => format!("{variable} == {}", self.entity()),
            3 => format!("{variable} in {}", self.entity()),
            4 => format!("{variable} is {kind}"),
            _ => format!("{variable} is {kind} in {}", self.entity()),
        }
    }

    fn policy(&mut self, number: usize) -> String {
        let effect = self.pick(&["permit", "permit", "forbid"]);
        let (principal, resource) = (self.scope("principal"), self.scope("resource"));
        let (one, two) = (self.below(4), self.below(4));
        let action = match self.below(4) {
            0 => "action".to_owned(),
            1 => format!("action == Action::\"{one}\""),
            2 => format!("action in Action::\"{one}\""),
            _ => format!("action in [Action::\"{one}\", Action::\"{two}\"]"),
        };
        let other = self.entity();
        let condition = match self.below(8) {
            0..=2 => String::new(),
            3 => "when { resource.level > 2 }".to_owned(),
            4 => "unless { principal has level && principal.level < 3 }".to_owned(),
            5 => "when { context.missing }".to_owned(),
            6 => format!("when {{ principal in {other} || resource.level * 9223372036854775807 > 0 }}"),
            _ => format!("when {{ {other}.level == resource.level }}"),
        };
        format!("@id(\"{number}\") {effect}({principal}, {action}, {resource}) {condition};")
    }

    /// Parents have a higher number, so there is no circle.
    fn above(&mut self, number: usize) -> Vec<usize> {
        let mut above = Vec::new();
        while number < 4 && self.below(2) == 0 {
            above.push(number + 1 + self.below(4 - number));
        }
        above
    }

    fn world(&mut self) -> World {
        let mut world = World::new();
        for kind in KINDS {
            for number in 0..5 {
                if self.below(6) == 0 {
                    continue;
                }
                let parents = self.above(number).into_iter();
                let parents = parents.map(|above| uid(self.pick(&["Group", "Doc"]), &above.to_string())).collect();
                let uid = uid(kind, &number.to_string());
                let level = [("level".to_owned(), RestrictedExpression::new_long(self.level()))].into();
                world.insert(uid.clone(), Entity::new(uid, level, parents).unwrap());
            }
        }
        world
    }

    fn schema(&mut self) -> String {
        let types = "entity User, Group, Doc in [Group, Doc] { level: Long };\n".to_owned();
        let applies =
            "appliesTo { principal: [User, Group, Doc], resource: [User, Group, Doc], context: { missing: Bool } };";
        let actions = (0..5).map(|number| {
            let above: Vec<String> = self.above(number).iter().map(|above| format!("\"{above}\"")).collect();
            let above = if above.is_empty() { String::new() } else { format!("in [{}]", above.join(", ")) };
            format!("action \"{number}\" {above} {applies}\n")
        });
        types + &actions.collect::<String>()
    }

    /// A principal, of which a claim may say the level.
    fn asker(&mut self) -> (&'static str, String, Option<i64>) {
        let (kind, id) = (KINDS[self.below(3)], self.below(6).to_string());
        (kind, id, (self.below(3) > 0).then(|| self.level()))
    }

    /// A resource, of which the request may say nothing, or something, or its level.
    fn asked(&mut self) -> (&'static str, String, Option<Option<i64>>) {
        let (kind, id) = (KINDS[self.below(3)], self.below(6).to_string());
        (kind, id, (self.below(3) > 0).then(|| (self.below(4) > 0).then(|| self.level())))
    }
}

fn uid(kind: &str, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.parse().unwrap(), EntityId::new(id))
}

fn principal((_, id, level): &(&str, String, Option<i64>)) -> Principal {
    let principal = PrincipalBuilder::new(ISSUER, id.clone());
    level.iter().fold(principal, |principal, level| principal.with_claim("level", *level)).build().unwrap()
}

/// What the engine has to know: all that there is, and what the request says where nothing else is known.
fn whole(world: &World, who: &(&str, String, Option<i64>), what: &(&str, String, Option<Option<i64>>)) -> Vec<Entity> {
    let (principal, resource) = (uid(who.0, &who.1), uid(what.0, &what.1));
    let mut all = world.clone();
    let mut add = |uid: EntityUid, level: Option<i64>| {
        let level = level.map(|level| ("level".to_owned(), RestrictedExpression::new_long(level)));
        all.entry(uid.clone()).or_insert_with(|| Entity::new(uid, level.into_iter().collect(), [].into()).unwrap());
    };
    // Of the principal itself, only its issuer says the level.
    add(principal, who.2);
    if let Some(level) = what.2 {
        add(resource, level);
    }
    all.into_values().collect()
}

#[tokio::test]
async fn seventy_thousand_requests_over_fixed_entities_are_answered_as_by_the_whole_set() {
    assert_eq!(are_answered_as_by_the_whole_set(175, &[&[]]).await, 0);
}

#[tokio::test]
async fn thirty_thousand_requests_over_provided_entities_are_answered_as_by_the_whole_set() {
    let waited = are_answered_as_by_the_whole_set(75, &[&["User"], &["Group", "Doc"], &KINDS]).await;
    assert!(waited > 10_000, "{waited}");
}

/// Goes all the way, 400 times for each set of policies: names, gathering, selection, verdict, reasons. Returns how many had
/// to wait for the provider of these types.
async fn are_answered_as_by_the_whole_set(rounds: usize, provided: &[&'static [&'static str]]) -> usize {
    let mut dice = Dice(TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let mut effects = HashMap::new();
    let (mut asked, mut failed, mut waited) = (0, 0, 0);
    for round in 0..rounds {
        let provided = provided[round % provided.len()];
        let text: Vec<String> = (0..1 + dice.below(16)).map(|number| dice.policy(number)).collect();
        let (text, schema, mut world) = (text.join("\n"), dice.schema(), dice.world());
        let is_provided = |uid: &EntityUid| provided.contains(&uid.type_name().basename());
        let fixed: Vec<_> = world.values().filter(|entity| !is_provided(&entity.uid())).collect();
        let fixed: Vec<_> = fixed.into_iter().map(|entity| entity.to_json_value().unwrap()).collect();
        let moment = Arc::new(Moment(provided, Mutex::default()));
        let mut builder = CedarPolicies::builder(schema).with_issuer(ISSUER).with_claim("level", "level");
        builder = builder.with_entities(json!(fixed).to_string());
        if !provided.is_empty() {
            let limits = ProviderLimits { rounds: 20, time: Duration::from_secs(60), ..ProviderLimits::default() };
            builder = builder.with_provider(Arc::clone(&moment), limits);
        }
        let policies = builder.build(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let (set, actions) = (named(&text), policies.0.built.words.schema.action_entities().unwrap());
        for moments in 0..4 {
            let provided_now = dice.world().into_iter().filter(|(uid, _)| is_provided(uid));
            world.retain(|uid, _| !is_provided(uid));
            world.extend(provided_now);
            moment.1.lock().unwrap().clone_from(&world);
            for _ in 0..20 {
                let (who, what) = (dice.asker(), dice.asked());
                let entities = actions.clone().add_entities(whole(&world, &who, &what), None).unwrap();
                let principal = principal(&who);
                let level = what.2.map(|level| level.map_or_else(|| json!({}), |level| json!({ "level": level })));
                let level = level.map(|level| JsonObject::from_serialize(&level).unwrap());
                let requests = ["0", "1", "2", "3", "4"].map(|action| {
                    let mut resource = Resource::new(what.0, &what.1);
                    if let Some(level) = &level {
                        resource = resource.with_attributes(level);
                    }
                    AccessRequest::new(&principal, action, resource, UnixSeconds::new(7)).with_subject_kind(who.0)
                });
                let wanted = ["0", "1", "2", "3", "4"].map(|action| {
                    let names = [uid(who.0, &who.1), uid("Action", action), uid(what.0, &what.1)];
                    let [principal, action, resource] = names;
                    let question = Request::new(principal, action, resource, Context::empty(), None).unwrap();
                    let response = Authorizer::new().is_authorized(&question, &set, &entities);
                    failed += response.diagnostics().errors().count();
                    wanted(&response, &set)
                });
                let mut answers = Vec::new();
                if moments == 0 {
                    let all = policies.decide_all(&requests, EvaluationsSemantic::ExecuteAll).await;
                    assert_eq!(all.len(), requests.len());
                    answers.extend(all.into_iter().zip(&wanted));
                }
                for (request, wanted) in requests.iter().zip(&wanted).filter(|_| moments > 0) {
                    let outcome = match policies.decide_now(request) {
                        Some(outcome) => outcome,
                        None => {
                            waited += 1;
                            policies.decide(request).await
                        }
                    };
                    answers.push((outcome, wanted));
                }
                for (ours, wanted) in answers {
                    let ours =
                        ours.unwrap_or_else(|error| panic!("round {round}: {error:?}\n{who:?} {what:?}\n{text}"));
                    assert_eq!(said(&ours, &policies), *wanted, "round {round}: {who:?} {what:?}\n{text}");
                }
                for (effect, _) in wanted {
                    asked += 1;
                    *effects.entry(effect.as_str()).or_insert(0) += 1;
                }
            }
        }
    }
    assert_eq!(asked, rounds * 400);
    // The requests are worth asking.
    assert!(effects.len() == 3 && effects.values().all(|count| *count > asked / 20), "{effects:?}");
    assert!(failed > asked / 10, "{failed}");
    waited
}

#[test]
fn where_most_policies_match_one_set_of_all_is_evaluated_and_answers_the_same() {
    let mut dice = Dice(TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let ask = |request: &Request, set: &PolicySet, entities: &Entities| {
        let response = Authorizer::new().is_authorized(request, set, entities);
        let mut reasons: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
        let mut errors: Vec<String> = response.diagnostics().errors().map(ToString::to_string).collect();
        reasons.sort();
        errors.sort();
        (response.decision(), reasons, errors)
    };
    for round in 0..10 {
        let text: Vec<String> = (0..200)
            .map(|number| {
                let policy = dice.policy(number);
                // Half of them have a condition and no scope.
                let (_, condition) = policy.rsplit_once(')').unwrap();
                let effect = if policy.contains("forbid(") { "forbid" } else { "permit" };
                match number % 2 {
                    0 => format!("@id(\"{number}\") {effect}(principal, action, resource){condition}"),
                    _ => policy,
                }
            })
            .collect();
        let set: PolicySet = text.join("\n").parse().unwrap();
        let index = Index::new(set.policies().cloned().collect());
        let entities = Entities::from_entities(dice.world().into_values(), None).unwrap();
        let mut whole = None;
        for _ in 0..50 {
            let action = uid("Action", &dice.below(6).to_string());
            let (principal, resource): (EntityUid, EntityUid) =
                (dice.entity().parse().unwrap(), dice.entity().parse().unwrap());
            let selection =
                index.select(&principal, &action, &resource, &entities, &OwnSelections::default()).unwrap().unwrap();
            assert_eq!(selection.set.num_of_policies(), 200);
            let whole = whole.get_or_insert_with(|| Arc::clone(&selection.set));
            assert!(Arc::ptr_eq(whole, &selection.set), "it is put together once");
            let request = Request::new(principal, action, resource, Context::empty(), None).unwrap();
            let (ours, all) = (ask(&request, &selection.set, &entities), ask(&request, &set, &entities));
            assert_eq!(ours, all, "round {round}: {request}");
        }
    }
}
