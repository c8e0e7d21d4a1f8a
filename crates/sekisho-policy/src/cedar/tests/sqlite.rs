use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::json::JsonObject;
use sekisho_core::{AccessRequest, Authorize, Resource, UnixSeconds};
use serde_json::{Map, json};
use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};

use super::CedarPolicies;
use crate::filter::{SqlColumns, SqlDialect, Value};

const SCHEMA: &str = "
    entity User;
    entity Order { owner: User, total: Long, locked?: Bool, note?: String };
    action read appliesTo { principal: User, resource: Order, context: { now: Long } };
";

const TEXTS: [&str; 14] = [
    "alice",
    "Alice",
    "alice ",
    "",
    "'",
    "x'; DROP TABLE orders; --",
    "\"id\"",
    "42",
    "042",
    "4e1",
    "%",
    "ä",
    "a\u{308}",
    "NULL",
];

struct Dice(TestRng);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        (self.0.next_u32() as usize) % end
    }

    fn text(&mut self) -> &'static str {
        TEXTS[self.below(TEXTS.len())]
    }

    /// As Cedar writes it.
    fn literal(&mut self) -> String {
        format!("\"{}\"", self.text().escape_default())
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
        let (text, number) = (self.literal(), self.below(4));
        let sign = ["==", "!=", "<", "<=", ">", ">="][self.below(6)];
        let equality = ["==", "!="][self.below(2)];
        match self.below(14) {
            0 => "resource.owner == principal".to_owned(),
            1 => format!("resource.owner {equality} User::{text}"),
            2 => format!("resource.total {sign} {number}"),
            3 => format!("{number} {sign} resource.total"),
            4 => "(resource has locked && resource.locked)".to_owned(),
            5 => format!("(resource has locked && resource.locked {equality} true)"),
            6 => format!("(resource has note && resource.note {equality} {text})"),
            7 => "resource has note".to_owned(),
            11 => "resource has total".to_owned(),
            12 => "resource has owner".to_owned(),
            8 => format!("resource {equality} Order::{text}"),
            10 => format!("resource {equality} Order::\"{}\"", ["42", "042", "4e1"][self.below(3)]),
            9 => format!("(resource has note && [{text}, \"alice\"].contains(resource.note))"),
            _ => format!("context.now {sign} {number}"),
        }
    }
}

/// What is stored, read as an application reads it.
struct Stored {
    number: i64,
    id: String,
    attributes: JsonObject,
    /// Every value is stored as its attribute's type, and what is required is there.
    is_typed: bool,
}

async fn fill(database: &mut SqliteConnection, dice: &mut Dice, id_type: &str) -> Vec<Stored> {
    let table = format!(
        "DROP TABLE IF EXISTS orders; CREATE TABLE orders (id {id_type}, owner TEXT COLLATE NOCASE, total INTEGER, locked BOOLEAN, note {id_type})"
    );
    sqlx::raw_sql(AssertSqlSafe(table)).execute(&mut *database).await.unwrap();
    for _ in 0..60 {
        let mut maybe = |value: &'static str| (dice.below(5) > 0).then_some(value);
        let (owner, note) = (maybe(""), maybe(""));
        let (owner, note) = (owner.map(|_| dice.text()), note.map(|_| dice.text()));
        let insert = sqlx::query("INSERT INTO orders VALUES (?, ?, ?, ?, ?)");
        let insert = if dice.below(4) == 0 { insert.bind(42_i64) } else { insert.bind(dice.text()) };
        let insert = insert.bind(owner);
        let insert = match dice.below(8) {
            0 => insert.bind("abc"),
            1 => insert.bind(1.5),
            2 => insert.bind(None::<i64>),
            _ => insert.bind(i64::try_from(dice.below(5)).unwrap()),
        };
        let insert = insert.bind([None, Some(true), Some(false)][dice.below(3)]).bind(note);
        insert.execute(&mut *database).await.unwrap();
    }
    // What the schema requires and is missing hides a row, and so may what is stored as another type.
    let select = "SELECT rowid, CAST(id AS TEXT), owner, total, typeof(total), locked, CAST(note AS TEXT),
            typeof(id) = 'text' AND typeof(note) IN ('text', 'null') AND typeof(total) = 'integer' AND owner IS NOT NULL
         FROM orders ORDER BY rowid";
    let rows = sqlx::query(select).fetch_all(&mut *database).await.unwrap();
    let read = |row: &sqlx::sqlite::SqliteRow| {
        let mut attributes = Map::new();
        if let Some(owner) = row.get::<Option<String>, _>(2) {
            attributes.insert("owner".into(), json!(owner));
        }
        let kind: String = row.get(4);
        match &*kind {
            "null" => None,
            "integer" => attributes.insert("total".into(), json!(row.get::<i64, _>(3))),
            "real" => attributes.insert("total".into(), json!(row.get::<f64, _>(3))),
            _ => attributes.insert("total".into(), json!(row.get::<String, _>(3))),
        };
        if let Some(locked) = row.get::<Option<bool>, _>(5) {
            attributes.insert("locked".into(), json!(locked));
        }
        if let Some(note) = row.get::<Option<String>, _>(6) {
            attributes.insert("note".into(), json!(note));
        }
        Stored {
            number: row.get(0),
            id: row.get(1),
            attributes: JsonObject::from_serialize(&attributes).unwrap(),
            is_typed: row.get(7),
        }
    };
    rows.iter().map(read).collect()
}

#[tokio::test]
async fn a_database_shows_the_rows_that_decisions_permit() {
    let mut database = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    let mut dice = Dice(TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let columns = SqlColumns::new(SqlDialect::Sqlite, "orders").with_id("id").with_attribute("owner", "owner");
    let columns = columns.with_attribute("total", "total").with_attribute("locked", "locked");
    let columns = columns.with_attribute("note", "note");
    let builder = CedarPolicies::builder(SCHEMA).with_issuer("https://id.example");
    let (mut shown, mut hidden, mut only_permitted) = (0, 0, 0);
    for round in 0..300 {
        let id_type = ["TEXT", "NUMERIC", ""][round % 3];
        let stored = fill(&mut database, &mut dice, id_type).await;
        let text = format!(
            "@id(\"p\") permit(principal, action, resource) when {{ {} }};
             @id(\"q\") permit(principal, action, resource) when {{ {} }};
             @id(\"f\") forbid(principal, action, resource) when {{ {} && {} }};",
            dice.condition(3),
            dice.condition(2),
            dice.condition(2),
            dice.condition(1),
        );
        let policies = builder.build(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let who = PrincipalBuilder::new("https://id.example", ["alice", "'", "42"][dice.below(3)]).build().unwrap();
        let any = AccessRequest::new(&who, "read", Resource::new("order", ""), UnixSeconds::new(2));
        let filter = policies.filter(&any).await.unwrap_or_else(|error| panic!("{error:?}\n{text}"));
        let filter = filter.to_sql(&columns).unwrap();
        let select = format!("SELECT rowid FROM orders WHERE {} ORDER BY rowid", filter.sql);
        let mut query = sqlx::query_scalar::<_, i64>(AssertSqlSafe(select));
        for value in &filter.params {
            query = match value {
                Value::Text(text) => query.bind(text),
                Value::Integer(number) => query.bind(number),
                Value::Bool(flag) => query.bind(flag),
            };
        }
        let selected = query.fetch_all(&mut database).await.unwrap();
        for row in &stored {
            let decide = |attributes: &JsonObject| {
                let order = Resource::new("order", &row.id).with_attributes(attributes);
                let decision = policies.decide_now(&AccessRequest::new(&who, "read", order, UnixSeconds::new(2)));
                decision.unwrap().map(|decision| decision.is_permitted())
            };
            let is_permitted = decide(&row.attributes).unwrap_or_else(|_| {
                // A total that is no number cannot be decided on. Such a row is shown only if no total matters.
                let mut attributes: Map<_, _> = serde_json::from_str(row.attributes.as_str()).unwrap();
                (-1..6).all(|total| {
                    attributes.insert("total".into(), json!(total));
                    decide(&JsonObject::from_serialize(&attributes).unwrap()).unwrap()
                })
            });
            let is_shown = selected.contains(&row.number);
            let what = || format!("{id_type}: {} {}\n{text}\n{}", row.id, row.attributes.as_str(), filter.sql);
            assert!(is_permitted || !is_shown, "shown, and not permitted: {}", what());
            assert!(is_shown || !is_permitted || !row.is_typed, "permitted, and not shown: {}", what());
            shown += usize::from(is_shown);
            hidden += usize::from(!is_shown);
            only_permitted += usize::from(is_permitted && !is_shown);
        }
    }
    // Neither always nor never.
    assert!(shown > 2_000 && hidden > 2_000 && only_permitted < shown / 2, "{shown} {hidden} {only_permitted}");
    println!(
        "{shown} shown, {hidden} hidden, {only_permitted} hidden because a required value lacks or is stored as another type"
    );
}
