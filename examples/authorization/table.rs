use std::error::Error;
use std::fmt;
use std::time::Instant;

use sekisho::json::JsonObject;
use sekisho::{
    AccessRequest, Authenticate as _, Authorize, Clock as _, Credential, Decision, Denial, Failure, Principal,
    Resource, SystemClock,
};
use sekisho_testkit::Issuer;

use crate::patterns::{self, Patterns};

/// Who asks: principals out of tokens that were verified.
pub(crate) struct People(Vec<(&'static str, String, Principal)>);

impl People {
    pub(crate) async fn of(issuer: &Issuer) -> Result<Self, Box<dyn Error>> {
        let verifier = patterns::verifier(issuer)?;
        let mut people = Vec::new();
        for (name, roles, scope) in [
            ("alice", &[][..], "orders:read"),
            ("bob of the staff", &["staff"], "orders:read orders:refund"),
            ("carol the manager", &["staff", "manager"], "orders:read orders:refund"),
            ("dave, suspended", &["staff", "suspended"], "orders:read orders:refund"),
        ] {
            let subject = name.split([' ', ',']).next().unwrap_or(name);
            let token = issuer.token().subject(subject).audience("shop").scope(scope).claim("tenant", "acme");
            let token = token.claim("roles", roles).sign();
            let principal = verifier.authenticate(Credential::bearer(&token), SystemClock.now()).await?;
            people.push((name, token, principal));
        }
        Ok(Self(people))
    }

    pub(crate) fn tokens(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, token, _)| (*name, token.as_str()))
    }

    fn get(&self, name: &str) -> Option<&Principal> {
        self.0.iter().find(|(one, ..)| *one == name).map(|(.., principal)| principal)
    }
}

const QUESTIONS: [(&str, &str, &str); 6] = [
    ("alice", "read", "42"),
    ("alice", "refund", "42"),
    ("bob of the staff", "read", "42"),
    ("bob of the staff", "refund", "43"),
    ("carol the manager", "refund", "43"),
    ("dave, suspended", "read", "42"),
];

/// Returns an order as the shop's database would: 42 is alice's, of 80; 43 is erin's, of 250.
pub(crate) fn order(id: &str) -> Option<JsonObject> {
    let json = match id {
        "42" => r#"{"owner":"alice","tenant":"acme","total":80}"#,
        "43" => r#"{"owner":"erin","tenant":"acme","total":250}"#,
        _ => return None,
    };
    JsonObject::parse(json.as_bytes().to_vec()).ok()
}

/// Is what all patterns said to all questions.
pub(crate) struct Table(Vec<(&'static str, Vec<Row>)>);

struct Row {
    question: String,
    outcome: Result<Decision, Failure>,
    micros: u128,
}

/// Asks each pattern each question.
pub(crate) async fn ask_all(patterns: &Patterns, people: &People) -> Result<Table, Box<dyn Error>> {
    let mut table = Vec::new();
    for (name, authorizer) in patterns.iter() {
        let mut rows = Vec::new();
        for (who, action, id) in QUESTIONS {
            let (subject, order) = (people.get(who).ok_or("nobody of that name")?, order(id).ok_or("no such order")?);
            let resource = Resource::new("order", id).with_attributes(&order);
            let request = AccessRequest::new(subject, action, resource, SystemClock.now());
            let begin = Instant::now();
            let outcome = authorizer.decide(&request).await;
            rows.push(Row { question: format!("{who}: {action} {id}"), outcome, micros: begin.elapsed().as_micros() });
        }
        table.push((name, rows));
    }
    Ok(Table(table))
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (pattern, rows) in &self.0 {
            writeln!(f, "{pattern}")?;
            for Row { question, outcome, micros } in rows {
                let (answer, source, why) = described(outcome);
                writeln!(f, "  {question:<28} {answer:<15} {source:<9} {micros:>7} us  {why}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn described(outcome: &Result<Decision, Failure>) -> (&'static str, &'static str, String) {
    match outcome {
        Err(failure) => ("error, so no", "-", failure.to_string()),
        Ok(decision) => {
            let why = match decision.denial() {
                Some(Denial::InsufficientScope { scope }) => format!("lacks the scope {scope}"),
                _ => decision.reasons().iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            };
            let answer = match decision.effect().as_str() {
                "permit" => "yes",
                "deny" => "no",
                _ => "no rule says yes",
            };
            (answer, decision.source().as_str(), why)
        }
    }
}

/// Shows how the hybrid comes to its answers.
pub(crate) async fn explain(patterns: &Patterns, people: &People) -> String {
    let mut text = String::new();
    for (who, action, id) in [("alice", "read", "42"), ("carol the manager", "refund", "43")] {
        let (Some(subject), Some(order)) = (people.get(who), order(id)) else { continue };
        let resource = Resource::new("order", id).with_attributes(&order);
        let request = AccessRequest::new(subject, action, resource, SystemClock.now());
        let explained = patterns.hybrid().explain(&request).await;
        text.push_str(&format!("{who}: {action} {id}\n{explained}\n"));
    }
    text
}

/// Fails unless the tables say what they are here to show.
pub(crate) fn check(alive: &Table, dead: &Table) -> Result<(), Box<dyn Error>> {
    let permits = |table: &Table| -> Vec<usize> {
        let permitted = |row: &&Row| row.outcome.as_ref().is_ok_and(Decision::is_permitted);
        table.0.iter().map(|(_, rows)| rows.iter().filter(permitted).count()).collect()
    };
    let (before, after) = (permits(alive), permits(dead));
    if before == [3, 5, 3, 3] && after == [0, 5, 3, 2] {
        return Ok(());
    }
    Err(format!("the patterns permitted {before:?} of {} questions, and then {after:?}", QUESTIONS.len()).into())
}
