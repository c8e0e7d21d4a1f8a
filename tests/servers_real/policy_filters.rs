//! Filters of `sekisho-policy` in a real PostgreSQL: a query shows the rows that decisions permit.

#[path = "../../crates/sekisho-policy/src/cedar/tests/agreement.rs"]
mod agreement;

use sekisho_core::json::JsonObject;
use sekisho_policy::cedar::{CedarBuilder, CedarPolicies};
use sekisho_policy::filter::{
    Comparison, Expr, Filter, Operand, Pattern, SqlColumns, SqlDialect, SqlFilter, Value as FilterValue,
};
use serde_json::{Map, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Postgres, QueryBuilder, Row as _};

use agreement::{Dice, Stored, TEXTS, TOTALS, Tally, builder, columns};

use crate::stores::store;

/// Collations of which one finds no difference between letters, nor by spaces, and a domain.
const PREPARATION: &str = r"
    CREATE COLLATION pg_temp.loose (provider = icu, locale = 'und-u-ks-level1-ka-shifted', deterministic = false);
    CREATE DOMAIN pg_temp.number AS bigint;
";

/// Types of the columns `id`, `owner`, `total`, `note`, `team`, `folder`.
const TYPES: [[&str; 6]; 4] = [
    ["text", "text", "bigint", "text", "text", "text"],
    ["varchar(40)", "text COLLATE pg_temp.loose", "pg_temp.number", "text COLLATE pg_temp.loose", "varchar(9)", "text"],
    ["char(30)", "char(30)", "bigint", "char(30)", "char(9)", "char(9)"],
    ["text COLLATE \"C\"", "name", "bigint", "varchar", "text COLLATE pg_temp.loose", "text COLLATE pg_temp.loose"],
];

async fn fill(database: &mut PgConnection, dice: &mut Dice, types: [&str; 6]) -> Vec<Stored> {
    let [id, owner, total, note, team, folder] = types;
    let table = format!(
        "DROP TABLE IF EXISTS pg_temp.orders;
         CREATE TEMPORARY TABLE orders (number bigint, id {id}, owner {owner}, total {total}, locked boolean, note {note},
            team {team}, folder {folder})"
    );
    sqlx::raw_sql(AssertSqlSafe(table)).execute(&mut *database).await.unwrap();
    let mut insert = QueryBuilder::<Postgres>::new("INSERT INTO orders ");
    insert.push_values(0_i64..60, |mut row, number| {
        let values = dice.columns();
        let total = (dice.below(6) > 0).then(|| dice.one(&TOTALS));
        row.push_bind(number).push_bind(dice.one(&TEXTS)).push_bind(values.owner).push_bind(total);
        row.push_bind(dice.one(&[None, Some(true), Some(false)])).push_bind(values.note);
        row.push_bind(values.team).push_bind(values.folder);
    });
    insert.build().execute(&mut *database).await.unwrap();
    let rows = sqlx::query("SELECT number, id, owner, total::bigint, locked, note, team, folder FROM orders");
    // The next table has columns of other types.
    let rows = rows.persistent(false).fetch_all(&mut *database).await.unwrap();
    let read = |row: &sqlx::postgres::PgRow| {
        let mut attributes = Map::new();
        let texts = [(2, "owner"), (5, "note"), (6, "team"), (7, "folder")];
        for (column, name) in texts {
            if let Some(text) = row.get::<Option<String>, _>(column) {
                attributes.insert(name.into(), json!(text));
            }
        }
        if let Some(total) = row.get::<Option<i64>, _>(3) {
            attributes.insert("total".into(), json!(total));
        }
        if let Some(locked) = row.get::<Option<bool>, _>(4) {
            attributes.insert("locked".into(), json!(locked));
        }
        // What is padded is hidden, whatever is asked.
        let is_padded = id.starts_with("char");
        Stored {
            number: row.get(0),
            id: row.get(1),
            is_typed: attributes.contains_key("owner") && attributes.contains_key("total") && !is_padded,
            attributes: JsonObject::from_serialize(&attributes).unwrap(),
        }
    };
    rows.iter().map(read).collect()
}

/// Selects by a filter whose placeholders come after one of the query's own.
async fn select(database: &mut PgConnection, filter: &SqlFilter) -> Result<Vec<i64>, sqlx::Error> {
    let select = format!("SELECT number FROM orders WHERE number >= $1 AND {} ORDER BY number", filter.sql);
    let mut query = sqlx::query_scalar::<_, i64>(AssertSqlSafe(select)).persistent(false).bind(0_i64);
    for value in &filter.params {
        query = match value {
            FilterValue::Text(text) => query.bind(text.clone()),
            FilterValue::Integer(number) => query.bind(*number),
            FilterValue::Bool(flag) => query.bind(*flag),
            other => panic!("{other:?}"),
        };
    }
    query.fetch_all(database).await
}

#[tokio::test]
async fn postgresql_shows_the_rows_that_decisions_permit() {
    let Some((url, _turn)) = store("SEKISHO_POSTGRES_URL", "filters in PostgreSQL").await else { return };
    let mut database = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(PREPARATION).execute(&mut database).await.unwrap();
    let (mut dice, builder) = (Dice::new(), builder());
    let columns = columns(SqlDialect::Postgres).with_first_parameter(2);
    let (mut tally, mut padded) = (Tally::default(), Tally::default());
    for round in 0..160 {
        let types = TYPES[round % TYPES.len()];
        let stored = fill(&mut database, &mut dice, types).await;
        let round = dice.round(&builder);
        let filter = round.filter(&columns).await;
        let selected = select(&mut database, &filter).await.unwrap_or_else(|error| panic!("{error}\n{}", filter.sql));
        let tally = if types[0].starts_with("char") { &mut padded } else { &mut tally };
        tally.judge(&round, &stored, &selected, &filter);
    }
    // Neither always nor never.
    assert!(tally.shown > 1_000 && tally.hidden > 1_000 && tally.only_permitted < tally.shown / 2, "{tally:?}");
    assert!(padded.hidden > 500, "{padded:?}");
    println!("{tally:?}, padded {padded:?}");
}

#[tokio::test]
async fn postgresql_takes_no_column_of_another_type_for_a_number_or_a_flag() {
    let Some((url, _turn)) = store("SEKISHO_POSTGRES_URL", "types of filters in PostgreSQL").await else { return };
    let mut database = PgConnection::connect(&url).await.unwrap();
    let columns = SqlColumns::new(SqlDialect::Postgres, "orders").with_id("id").with_attribute("a", "a");
    let columns = columns.with_first_parameter(2);
    let compare = |comparison, value| {
        Filter::Where(Expr::Compare(Operand::Attribute("a".into()), comparison, value)).to_sql(&columns).unwrap()
    };
    let number = compare(Comparison::Greater, FilterValue::Integer(1));
    let flag = compare(Comparison::NotEqual, FilterValue::Bool(true));
    let pattern = Pattern::new(["4".to_owned(), String::new()]);
    let like = Filter::Where(Expr::Like("a".into(), pattern)).to_sql(&columns).unwrap();
    for (kind, value, is_number, is_flag) in [
        ("smallint", "42", true, false),
        ("integer", "42", true, false),
        ("bigint", "42", true, false),
        ("numeric", "42.5", false, false),
        ("double precision", "42.5", false, false),
        ("text", "'42'", false, false),
        ("boolean", "false", false, true),
        ("uuid", "'4b1c9b5e-0000-4000-8000-000000000000'", false, false),
    ] {
        let table = format!(
            "DROP TABLE IF EXISTS pg_temp.orders; CREATE TEMPORARY TABLE orders AS SELECT 1::bigint AS number, {value}::{kind} AS a"
        );
        sqlx::raw_sql(AssertSqlSafe(table)).execute(&mut database).await.unwrap();
        for (filter, is_right) in [(&number, is_number), (&flag, is_flag)] {
            match select(&mut database, filter).await {
                Ok(rows) => assert!(is_right && rows == [1], "{kind} {}", filter.sql),
                Err(error) => assert!(!is_right && error.to_string().contains("operator does not exist"), "{error}"),
            }
        }
        let rows = select(&mut database, &like).await.unwrap();
        assert_eq!(rows.len(), usize::from(kind != "boolean"), "{kind}: what is read as a text");
    }
    // Backslashes mean nothing, whatever the settings say of them.
    let quoted = Pattern::new(["\\".to_owned(), "!%".to_owned()]);
    let like = Filter::Where(Expr::Like("a".into(), quoted)).to_sql(&columns).unwrap();
    sqlx::raw_sql(
        r"SET standard_conforming_strings = off; DROP TABLE pg_temp.orders;
          CREATE TEMPORARY TABLE orders AS SELECT number, a FROM (VALUES (1::bigint, E'\\x!%'), (2, 'x!%'), (3, E'\\x!y')) AS v (number, a)",
    )
    .execute(&mut database)
    .await
    .unwrap();
    assert_eq!(select(&mut database, &like).await.unwrap(), [1]);
}
