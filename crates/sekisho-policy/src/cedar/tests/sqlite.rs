use sekisho_core::json::JsonObject;
use serde_json::{Map, json};
use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};

use super::agreement::{Dice, Stored, TEXTS, TOTALS, Tally, builder, columns};
use crate::filter::{
    Comparison, Expr, Filter, FilterError, Operand, Pattern, SqlColumns, SqlDialect, SqlFilter, Value,
};

async fn fill(database: &mut SqliteConnection, dice: &mut Dice, id_type: &str) -> Vec<Stored> {
    let table = format!(
        "DROP TABLE IF EXISTS orders; CREATE TABLE orders (id {id_type}, owner TEXT COLLATE NOCASE, total INTEGER, locked BOOLEAN,
            note {id_type} COLLATE RTRIM, team {id_type}, folder TEXT COLLATE NOCASE)"
    );
    sqlx::raw_sql(AssertSqlSafe(table)).execute(&mut *database).await.unwrap();
    for _ in 0..60 {
        let values = dice.columns();
        let insert = sqlx::query("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?)");
        let insert = if dice.below(4) == 0 { insert.bind(42_i64) } else { insert.bind(dice.one(&TEXTS)) };
        let insert = insert.bind(values.owner);
        let insert = match dice.below(8) {
            0 => insert.bind("abc"),
            1 => insert.bind(1.5),
            2 => insert.bind(None::<i64>),
            _ => insert.bind(dice.one(&TOTALS)),
        };
        let insert = insert.bind(dice.one(&[None, Some(true), Some(false)])).bind(values.note);
        insert.bind(values.team).bind(values.folder).execute(&mut *database).await.unwrap();
    }
    // What the schema requires and is missing hides a row, and so may what is stored as another type.
    let select = "SELECT rowid, CAST(id AS TEXT), owner, total, typeof(total), locked, CAST(note AS TEXT), CAST(team AS TEXT), folder,
            typeof(id) = 'text' AND typeof(note) IN ('text', 'null') AND typeof(team) IN ('text', 'null')
                AND typeof(total) = 'integer' AND owner IS NOT NULL
         FROM orders ORDER BY rowid";
    let rows = sqlx::query(select).fetch_all(&mut *database).await.unwrap();
    let read = |row: &sqlx::sqlite::SqliteRow| {
        let mut attributes = Map::new();
        for (column, name) in [(2, "owner"), (6, "note"), (7, "team"), (8, "folder")] {
            if let Some(text) = row.get::<Option<String>, _>(column) {
                attributes.insert(name.into(), json!(text));
            }
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
        Stored {
            number: row.get(0),
            id: row.get(1),
            attributes: JsonObject::from_serialize(&attributes).unwrap(),
            is_typed: row.get(9),
        }
    };
    rows.iter().map(read).collect()
}

async fn select(database: &mut SqliteConnection, filter: &SqlFilter) -> Vec<i64> {
    let select = format!("SELECT rowid FROM orders WHERE {} ORDER BY rowid", filter.sql);
    let mut query = sqlx::query_scalar::<_, i64>(AssertSqlSafe(select));
    for value in &filter.params {
        query = match value {
            Value::Text(text) => query.bind(text),
            Value::Integer(number) => query.bind(number),
            Value::Bool(flag) => query.bind(flag),
        };
    }
    query.fetch_all(database).await.unwrap()
}

#[tokio::test]
async fn a_database_shows_the_rows_that_decisions_permit() {
    let mut database = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    let (mut dice, columns, builder) = (Dice::new(), columns(SqlDialect::Sqlite), builder());
    let mut tally = Tally::default();
    for round in 0..300 {
        let stored = fill(&mut database, &mut dice, ["TEXT", "NUMERIC", ""][round % 3]).await;
        let round = dice.round(&builder);
        let filter = round.filter(&columns).await;
        let selected = select(&mut database, &filter).await;
        tally.judge(&round, &stored, &selected, &filter);
    }
    // Neither always nor never.
    let Tally { shown, hidden, only_permitted } = tally;
    assert!(shown > 2_000 && hidden > 2_000 && only_permitted < shown / 2, "{tally:?}");
    println!("{tally:?}");
}

#[tokio::test]
async fn patterns_of_sqlite_neither_end_at_a_nul_nor_ignore_case() {
    let mut database = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    sqlx::raw_sql("PRAGMA case_sensitive_like = OFF; CREATE TABLE orders (note)").execute(&mut database).await.unwrap();
    for note in ["abc", "abc\0d", "ABC", "a\0c", "ab\u{10ffff}c"] {
        sqlx::query("INSERT INTO orders VALUES (?)").bind(note).execute(&mut database).await.unwrap();
    }
    sqlx::raw_sql("INSERT INTO orders VALUES (x'616263'), (NULL), (7)").execute(&mut database).await.unwrap();
    let columns = SqlColumns::new(SqlDialect::Sqlite, "orders").with_attribute("note", "note");
    let pattern = || Pattern::new(["a".to_owned(), "c".to_owned()]);
    for (expression, shown) in [
        (Expr::Like("note".into(), pattern()), vec![1, 5]),
        (Expr::Unlike("note".into(), pattern()), vec![3]),
        (Expr::Like("note".into(), Pattern::new(["".to_owned(), "".to_owned()])), vec![1, 3, 5]),
    ] {
        let filter = Filter::Where(expression).to_sql(&columns).unwrap();
        assert_eq!(select(&mut database, &filter).await, shown, "{}", filter.sql);
    }
}

#[tokio::test]
async fn patterns_of_sqlite_have_no_characters_that_it_takes_for_each_other() {
    let mut database = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    let columns = |dialect| SqlColumns::new(dialect, "orders").with_attribute("note", "note");
    for character in ['\u{fffd}', '\u{fffe}', '\u{ffff}'] {
        // The reason.
        let glob = sqlx::query_scalar::<_, bool>("SELECT 'a\u{fffe}b' GLOB ?").bind(format!("a{character}b"));
        assert!(glob.fetch_one(&mut database).await.unwrap());
        let pattern = Pattern::new(["".to_owned(), format!("a{character}b")]);
        for expression in [Expr::Like("note".into(), pattern.clone()), Expr::Unlike("note".into(), pattern)] {
            let filter = Filter::Where(expression);
            assert_eq!(filter.to_sql(&columns(SqlDialect::Sqlite)), Err(FilterError::Indistinct));
            assert!(filter.to_sql(&columns(SqlDialect::Postgres)).is_ok());
        }
    }
}

#[tokio::test]
async fn sqlite_reads_the_largest_filters() {
    let mut database = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    sqlx::raw_sql("CREATE TABLE orders (owner TEXT, note TEXT)").execute(&mut database).await.unwrap();
    for owner in ["o0", "o999", "o1000"] {
        sqlx::query("INSERT INTO orders VALUES (?, 'x')").bind(owner).execute(&mut database).await.unwrap();
    }
    let columns = SqlColumns::new(SqlDialect::Sqlite, "orders").with_attribute("owner", "owner");
    let columns = columns.with_attribute("note", "note");
    let is = |comparison, number: usize| {
        Expr::Compare(Operand::Attribute("owner".into()), comparison, Value::Text(format!("o{number}")))
    };
    let all = |comparison| (0..1_000).map(|number| is(comparison, number)).collect::<Vec<_>>();
    let unlike = |number: usize| Expr::Unlike("owner".into(), Pattern::new([format!("o{number}")]));
    let mut filters = vec![
        (Expr::Or(all(Comparison::Equal)), vec![1, 2]),
        (Expr::And(all(Comparison::NotEqual)), vec![3]),
        (Expr::And((0..1_000).map(unlike).collect()), vec![3]),
    ];
    // As deep as can be, with as many on each level; what goes deeper comes first, in the middle or last.
    for at in [0, 7, 14] {
        let level = |inner: Expr, level: usize| {
            let mut parts: Vec<Expr> = (0..15).map(|number| is(Comparison::Equal, level * 15 + number)).collect();
            parts.extend((0..40).map(|_| Expr::Lacks("note".into())));
            parts.insert(at, inner);
            Expr::Or(parts)
        };
        let deepest = (0..64).rev().fold(is(Comparison::Equal, 999), level);
        filters.push((deepest, vec![1, 2]));
    }
    for (expression, shown) in filters {
        let filter = Filter::Where(expression).to_sql(&columns).unwrap();
        assert_eq!(select(&mut database, &filter).await, shown);
    }
}
