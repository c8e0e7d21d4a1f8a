use cedar_policy::{Authorizer, Context, Entities, Entity, EntityUid, Policy, PolicySet, Request, Response};
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::super::index::Index;

/// Answers as decision, reasons and errors, in an order that does not depend on the engine.
pub(super) fn shown(response: &Response) -> (cedar_policy::Decision, Vec<String>, Vec<String>) {
    let mut reasons: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
    let mut errors: Vec<String> = response.diagnostics().errors().map(ToString::to_string).collect();
    reasons.sort();
    errors.sort();
    (response.decision(), reasons, errors)
}

pub(super) fn by_index(index: &Index, request: &Request, entities: &Entities) -> Response {
    let (principal, action, resource) =
        (request.principal().unwrap(), request.action().unwrap(), request.resource().unwrap());
    let selection = index.select(principal, action, resource, entities).unwrap();
    let set = selection.as_ref().map_or_else(PolicySet::new, |selection| (*selection.set).clone());
    Authorizer::new().is_authorized(request, &set, entities)
}

struct Dice(TestRng);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        (self.0.next_u32() as usize) % end
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn entity(&mut self) -> String {
        let kind = self.pick(&["User", "Group", "Doc"]);
        format!("{kind}::\"{}\"", self.below(5))
    }

    fn scope(&mut self, variable: &str) -> String {
        let kind = self.pick(&["User", "Group", "Doc"]);
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
    fn entities(&mut self) -> Entities {
        let mut entities = Vec::new();
        for kind in ["User", "Group", "Doc", "Action"] {
            for number in 0..5 {
                if kind != "Action" && self.below(6) == 0 {
                    continue;
                }
                let mut parents = Vec::new();
                while self.below(2) == 0 && number < 4 {
                    let above = number + 1 + self.below(4 - number);
                    let kind = if kind == "Action" { "Action" } else { self.pick(&["Group", "Doc"]) };
                    parents.push(format!("{kind}::\"{above}\"").parse::<EntityUid>().unwrap());
                }
                let uid: EntityUid = format!("{kind}::\"{number}\"").parse().unwrap();
                let level = i64::try_from(self.below(5)).unwrap();
                let level = ("level".to_owned(), cedar_policy::RestrictedExpression::new_long(level));
                let attributes = [level].into_iter().filter(|_| self.below(4) > 0 && kind != "Action").collect();
                entities.push(Entity::new(uid, attributes, parents.into_iter().collect()).unwrap());
            }
        }
        Entities::from_entities(entities, None).unwrap()
    }
}

#[test]
fn a_hundred_thousand_requests_are_answered_as_by_the_whole_set() {
    let mut dice = Dice(TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let (mut allowed, mut denied, mut errors) = (0, 0, 0);
    for round in 0..250 {
        let text: Vec<String> = (0..1 + dice.below(16)).map(|number| dice.policy(number)).collect();
        let set: PolicySet = text.join("\n").parse().unwrap();
        let policies: Vec<Policy> = set.policies().cloned().collect();
        let index = Index::new(policies);
        for _ in 0..4 {
            let entities = dice.entities();
            for _ in 0..100 {
                let action = format!("Action::\"{}\"", dice.below(6)).parse().unwrap();
                let (principal, resource) = (dice.entity().parse().unwrap(), dice.entity().parse().unwrap());
                let request = Request::new(principal, action, resource, Context::empty(), None).unwrap();
                let whole = shown(&Authorizer::new().is_authorized(&request, &set, &entities));
                let ours = shown(&by_index(&index, &request, &entities));
                assert_eq!(whole, ours, "round {round}: {request}\n{}", text.join("\n"));
                match whole.0 {
                    cedar_policy::Decision::Allow => allowed += 1,
                    cedar_policy::Decision::Deny => denied += 1,
                }
                errors += whole.2.len();
            }
        }
    }
    assert_eq!(allowed + denied, 100_000);
    // The requests are worth asking.
    assert!(allowed > 10_000 && denied > 10_000 && errors > 10_000, "{allowed} {denied} {errors}");
}

#[test]
fn where_most_policies_match_one_set_of_all_is_evaluated_and_answers_the_same() {
    let mut dice = Dice(TestRng::deterministic_rng(RngAlgorithm::ChaCha));
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
        let entities = dice.entities();
        let mut whole = None;
        for _ in 0..50 {
            let action = format!("Action::\"{}\"", dice.below(6)).parse().unwrap();
            let (principal, resource) = (dice.entity().parse().unwrap(), dice.entity().parse().unwrap());
            let selection = index.select(&principal, &action, &resource, &entities).unwrap().unwrap();
            assert_eq!(selection.set.num_of_policies(), 200);
            let whole = whole.get_or_insert_with(|| selection.set.clone());
            assert!(std::sync::Arc::ptr_eq(whole, &selection.set), "it is put together once");
            let request = Request::new(principal, action, resource, Context::empty(), None).unwrap();
            let expected = shown(&Authorizer::new().is_authorized(&request, &set, &entities));
            assert_eq!(expected, shown(&by_index(&index, &request, &entities)), "round {round}: {request}");
        }
    }
}
