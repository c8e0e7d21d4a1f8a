//! What a filter shows is what decisions permit, row by row; whichever database it is. `tests/servers_real` has it too.

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::json::JsonObject;
use sekisho_core::{AccessRequest, Authorize, Principal, Resource, UnixSeconds};
use serde_json::{Map, json};

use super::{CedarBuilder, CedarPolicies, SqlColumns, SqlDialect, SqlFilter};

const SCHEMA: &str = r#"
    entity Team in [Team];
    entity User in [Team];
    entity Folder in [Folder];
    entity Order in [Folder] {
        owner: User, total: Long, locked?: Bool, note?: String, team?: Team, folder?: Folder
    };
    action read appliesTo { principal: User, resource: Order, context: { now: Long } };
"#;

/// Folders: `a` holds `b` and `%`, `b` holds `'`. Teams: `42` is in `all`, alice in `42`, the user `'` in `all`.
const FIXED: &str = r#"[
    {"uid": {"type": "Folder", "id": "b"}, "attrs": {}, "parents": [{"type": "Folder", "id": "a"}]},
    {"uid": {"type": "Folder", "id": "%"}, "attrs": {}, "parents": [{"type": "Folder", "id": "a"}]},
    {"uid": {"type": "Folder", "id": "'"}, "attrs": {}, "parents": [{"type": "Folder", "id": "b"}]},
    {"uid": {"type": "Team", "id": "42"}, "attrs": {}, "parents": [{"type": "Team", "id": "all"}]},
    {"uid": {"type": "User", "id": "alice"}, "attrs": {}, "parents": [{"type": "Team", "id": "42"}]},
    {"uid": {"type": "User", "id": "'"}, "attrs": {}, "parents": [{"type": "Team", "id": "all"}]}
]"#;

pub(crate) const TEXTS: [&str; 22] = [
    "alice",
    "Alice",
    "ALICE",
    "alice ",
    "alice  ",
    " alice",
    "",
    " ",
    "'",
    "x'; DROP TABLE orders; --",
    "\"id\"",
    "42",
    "042",
    "4e1",
    "%",
    "a_ice",
    "a\\lice!",
    "[a]?*",
    "ä",
    "a\u{308}",
    "NULL",
    "a\nb",
];
const PLACES: [&str; 7] = ["a", "b", "%", "'", "A", "a ", "elsewhere"];
const TEAMS: [&str; 6] = ["42", "all", "ALL", "042", "all ", "'"];
pub(crate) const TOTALS: [i64; 9] = [0, 1, 2, 3, 4, -1, i64::MIN, i64::MAX, i64::MAX - 1];
const PATTERNS: [&str; 17] = [
    "alice", "a*", "*ice", "A*", "*", "", "a*e", "* ", "%", "a%", "a_ice", "*\\\\*!", "[a]?\\*", "[a]*", "?*", "ä*",
    "a*b",
];

pub(crate) struct Dice(TestRng);

impl Dice {
    pub(crate) fn new() -> Self {
        Self(TestRng::deterministic_rng(RngAlgorithm::ChaCha))
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.0.next_u32() as usize) % end
    }

    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// One of them, four times of five.
    pub(crate) fn maybe(&mut self, of: &[&'static str]) -> Option<&'static str> {
        (self.below(5) > 0).then(|| self.one(of))
    }

    pub(crate) fn columns(&mut self) -> Columns {
        let places = self.maybe(&PLACES);
        Columns { owner: self.maybe(&TEXTS), note: self.maybe(&TEXTS), team: self.maybe(&TEAMS), folder: places }
    }

    /// As Cedar writes it.
    fn literal(&mut self, of: &[&'static str]) -> String {
        format!("\"{}\"", self.one(of).escape_default())
    }

    fn condition(&mut self, depth: usize) -> String {
        let is_leaf = depth == 0 || self.below(3) == 0;
        if !is_leaf {
            let (left, right) = (self.condition(depth - 1), self.condition(depth - 1));
            return match self.below(3) {
                0 => format!("!({left})"),
                1 => format!("({left} && {right})"),
                _ => format!("({left} || {right})"),
            };
        }
        let (text, number) = (self.literal(&TEXTS), self.one(&TOTALS));
        let (place, team, pattern) = (self.literal(&PLACES), self.literal(&TEAMS), self.one(&PATTERNS));
        let sign = self.one(&["==", "!=", "<", "<=", ">", ">="]);
        let equality = self.one(&["==", "!="]);
        match self.below(21) {
            0 => "resource.owner == principal".to_owned(),
            1 => format!("resource.owner {equality} User::{text}"),
            2 => format!("resource.total {sign} {number}"),
            3 => format!("{number} {sign} resource.total"),
            4 => "(resource has locked && resource.locked)".to_owned(),
            5 => format!("(resource has locked && resource.locked {equality} true)"),
            6 => format!("(resource has note && resource.note {equality} {text})"),
            7 => "resource has note".to_owned(),
            8 => format!("resource {equality} Order::{text}"),
            9 => format!("(resource has note && [{text}, \"alice\"].contains(resource.note))"),
            10 => format!("resource {equality} Order::\"{}\"", self.one(&["42", "042", "4e1"])),
            11 => "resource has total".to_owned(),
            12 => "resource has owner".to_owned(),
            13 | 14 => format!("(resource has note && resource.note like \"{pattern}\")"),
            15 => format!("resource in Folder::{place}"),
            16 => format!("(resource has folder && resource.folder in [Folder::{place}, Folder::\"elsewhere\"])"),
            17 => format!("resource.owner in Team::{team}"),
            18 => "(resource has team && principal in resource.team)".to_owned(),
            19 => format!("(resource has team && resource.team in Team::{team})"),
            _ => format!("context.now {sign} {}", self.below(4)),
        }
    }

    /// Throws policies, and who asks.
    pub(crate) fn round(&mut self, builder: &CedarBuilder) -> Round {
        let text = format!(
            "@id(\"p\") permit(principal, action, resource) when {{ {} }};
             @id(\"q\") permit(principal, action, resource) when {{ {} }};
             @id(\"f\") forbid(principal, action, resource) when {{ {} && {} }};",
            self.condition(3),
            self.condition(2),
            self.condition(2),
            self.condition(1),
        );
        let policies = builder.build(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let who = PrincipalBuilder::new("https://id.example", self.one(&["alice", "'", "42"])).build().unwrap();
        Round { policies, who, text }
    }
}

pub(crate) struct Columns {
    pub(crate) owner: Option<&'static str>,
    pub(crate) note: Option<&'static str>,
    pub(crate) team: Option<&'static str>,
    pub(crate) folder: Option<&'static str>,
}

pub(crate) fn builder() -> CedarBuilder {
    let builder = CedarPolicies::builder(SCHEMA).with_issuer("https://id.example").with_entities(FIXED);
    builder.with_parents_from("Order", "folder")
}

pub(crate) fn columns(dialect: SqlDialect) -> SqlColumns {
    let all = ["owner", "total", "locked", "note", "team", "folder"];
    all.into_iter()
        .fold(SqlColumns::new(dialect, "orders").with_id("id"), |columns, name| columns.with_attribute(name, name))
}

/// What is stored, read as an application reads it.
pub(crate) struct Stored {
    pub(crate) number: i64,
    pub(crate) id: String,
    pub(crate) attributes: JsonObject,
    /// Every value is stored as its attribute's type, and what is required is there.
    pub(crate) is_typed: bool,
}

pub(crate) struct Round {
    policies: CedarPolicies,
    who: Principal,
    text: String,
}

const NOW: UnixSeconds = UnixSeconds::new(2);

impl Round {
    pub(crate) async fn filter(&self, columns: &SqlColumns) -> SqlFilter {
        let any = AccessRequest::new(&self.who, "read", Resource::new("order", ""), NOW);
        let filter = self.policies.filter(&any).await.unwrap_or_else(|error| panic!("{error:?}\n{}", self.text));
        filter.to_sql(columns).unwrap()
    }

    fn is_permitted(&self, row: &Stored) -> bool {
        let decide = |attributes: &JsonObject| {
            let order = Resource::new("order", &row.id).with_attributes(attributes);
            let decision = self.policies.decide_now(&AccessRequest::new(&self.who, "read", order, NOW));
            decision.unwrap().map(|decision| decision.is_permitted())
        };
        decide(&row.attributes).unwrap_or_else(|_| {
            // A total that is no number cannot be decided on. Such a row is shown only if no total matters.
            let mut attributes: Map<_, _> = serde_json::from_str(row.attributes.as_str()).unwrap();
            TOTALS.into_iter().all(|total| {
                attributes.insert("total".into(), json!(total));
                decide(&JsonObject::from_serialize(&attributes).unwrap()).unwrap()
            })
        })
    }
}

/// Counts what was shown and what was not.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) shown: usize,
    pub(crate) hidden: usize,
    /// Permitted, and hidden because a required value lacks or is stored as another type.
    pub(crate) only_permitted: usize,
}

impl Tally {
    pub(crate) fn judge(&mut self, round: &Round, stored: &[Stored], selected: &[i64], filter: &SqlFilter) {
        for row in stored {
            let (is_permitted, is_shown) = (round.is_permitted(row), selected.contains(&row.number));
            let what = || {
                format!("{:?} {}\n{}\n{} {:?}", row.id, row.attributes.as_str(), round.text, filter.sql, filter.params)
            };
            assert!(is_permitted || !is_shown, "shown, and not permitted: {}", what());
            assert!(is_shown || !is_permitted || !row.is_typed, "permitted, and not shown: {}", what());
            self.shown += usize::from(is_shown);
            self.hidden += usize::from(!is_shown);
            self.only_permitted += usize::from(is_permitted && !is_shown);
        }
    }
}
