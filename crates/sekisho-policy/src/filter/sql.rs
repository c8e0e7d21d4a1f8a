use std::collections::BTreeMap;

use super::{Comparison, Expr, Filter, Operand, Pattern, Value};

/// Says why there is no filter. Nothing may be shown then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// No column is listed for an attribute, or for the id.
    #[error("no column is listed for `{0}`")]
    NoColumn(Box<str>),
    /// It is nested deeper than 64 levels, compares more than 1,000 times, or has a pattern of more than 10,000 bytes.
    #[error("the filter is too large")]
    TooLarge,
    /// A text has a NUL, which PostgreSQL does not keep and at which SQLite's patterns end.
    #[error("a text of the filter has a NUL")]
    Nul,
    /// A pattern has U+FFFD, U+FFFE or U+FFFF, which SQLite's patterns take for one another.
    #[error("a pattern of the filter has a character that SQLite takes for another")]
    Indistinct,
}

/// Says which database reads the condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SqlDialect {
    /// SQLite: placeholders are `?`.
    Sqlite,
    /// PostgreSQL: placeholders are `$1`, `$2` and so on, with their types: `$1::text`, `$2::bigint`, `$3::boolean`.
    Postgres,
}

/// Lists the columns that a filter may name, each of the type of its attribute: text, integer (of at most 64 bits) or
/// boolean. A missing attribute is `NULL`.
///
/// Texts are compared byte by byte, whatever the collation or type of the column says of case, accents or spaces.
///
/// SQLite stores values of any type in any column. There, a row whose value is not stored as its attribute's type (a boolean as
/// the integer 0 or 1) is not shown by a comparison; but an id that is stored as an integer equals its decimal digits. A text
/// with a NUL is shown by no pattern. Texts have to be UTF-8: what is not may be shown by a pattern that has other characters
/// than ASCII.
///
/// PostgreSQL compares as texts what the column is as `::text`: the digits of an integer, the small letters of a UUID. A
/// `char(n)` is read with the spaces that fill it, so what is padded is not shown. A column of another kind where an integer
/// or a boolean is expected (`numeric`, `double precision`) is an error of the query. An index serves these comparisons only
/// if its column has `COLLATE "C"`.
#[derive(Clone, Debug)]
pub struct SqlColumns {
    dialect: SqlDialect,
    table: String,
    id: Option<String>,
    attributes: BTreeMap<Box<str>, String>,
    first: usize,
}

impl SqlColumns {
    /// Starts with the name or the alias of a table. Identifiers are quoted, and case counts.
    #[must_use]
    pub fn new(dialect: SqlDialect, table: impl Into<String>) -> Self {
        Self { dialect, table: table.into(), id: None, attributes: BTreeMap::new(), first: 1 }
    }

    /// Lists the column of the resource's id.
    #[must_use]
    pub fn with_id(mut self, column: impl Into<String>) -> Self {
        self.id = Some(column.into());
        self
    }

    /// Lists the column of an attribute.
    #[must_use]
    pub fn with_attribute(mut self, attribute: impl Into<Box<str>>, column: impl Into<String>) -> Self {
        self.attributes.insert(attribute.into(), column.into());
        self
    }

    /// Sets the number of the first placeholder `$n`. Default 1.
    #[must_use]
    pub const fn with_first_parameter(mut self, first: usize) -> Self {
        self.first = first;
        self
    }

    fn column(&self, attribute: Option<&str>) -> Result<String, FilterError> {
        let column = match attribute {
            None => self.id.as_ref(),
            Some(attribute) => self.attributes.get(attribute),
        };
        let column = column.ok_or_else(|| FilterError::NoColumn(attribute.unwrap_or("id").into()))?;
        // With the table before it, SQLite cannot take a column that there is not for a text.
        Ok(format!("{}.{}", quote(&self.table), quote(column)))
    }
}

fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// Is a condition in SQL, in parentheses, that is true or false and never `NULL`; and its parameters in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqlFilter {
    /// The condition.
    pub sql: String,
    /// What to bind.
    pub params: Vec<Value>,
}

const MAX_DEPTH: usize = 64;
const MAX_COMPARISONS: usize = 1_000;
/// SQLite reads `a OR b OR c` as a tree as deep as it is long, of 1,000 levels at the most: what is longer than this is halved.
const MAX_FLAT: usize = 8;
/// SQLite reads patterns of 50,000 bytes by default.
const MAX_PATTERN: usize = 10_000;

impl Filter {
    /// Writes it as a condition in SQL.
    ///
    /// # Errors
    /// [`FilterError`] when a column is not listed, it is too large, or a text has what the database does not tell apart. There
    /// is no wider filter instead.
    pub fn to_sql(&self, columns: &SqlColumns) -> Result<SqlFilter, FilterError> {
        let mut filter = SqlFilter { sql: String::new(), params: Vec::new() };
        match self {
            Self::All => filter.sql.push_str("(1 = 1)"),
            Self::None => filter.sql.push_str("(1 = 0)"),
            Self::Where(expression) => filter.write(expression, columns, 0)?,
        }
        Ok(filter)
    }
}

impl SqlFilter {
    fn write(&mut self, expression: &Expr, columns: &SqlColumns, depth: usize) -> Result<(), FilterError> {
        if depth > MAX_DEPTH {
            return Err(FilterError::TooLarge);
        }
        match expression {
            Expr::And(parts) => self.join(parts, " AND ", "1 = 1", columns, depth),
            Expr::Or(parts) => self.join(parts, " OR ", "1 = 0", columns, depth),
            Expr::Has(attribute) => {
                let column = columns.column(Some(attribute))?;
                self.sql.push_str(&format!("({column} IS NOT NULL)"));
                Ok(())
            }
            Expr::Lacks(attribute) => {
                let column = columns.column(Some(attribute))?;
                self.sql.push_str(&format!("({column} IS NULL)"));
                Ok(())
            }
            Expr::Compare(operand, comparison, value) => {
                let column = match operand {
                    Operand::Id => columns.column(None)?,
                    Operand::Attribute(name) => columns.column(Some(name))?,
                };
                self.compare(&column, *comparison, value, columns)
            }
            Expr::Like(attribute, pattern) => self.like(&columns.column(Some(attribute))?, "", pattern, columns),
            Expr::Unlike(attribute, pattern) => self.like(&columns.column(Some(attribute))?, "NOT ", pattern, columns),
            Expr::NamesAnother(attribute) => {
                let (column, id) = (columns.column(Some(attribute))?, columns.column(None)?);
                let (column_text, id) = match columns.dialect {
                    SqlDialect::Sqlite => (format!("CAST({column} AS TEXT)"), format!("CAST({id} AS TEXT)")),
                    SqlDialect::Postgres => (as_text(&column), as_text(&id)),
                };
                self.sql.push_str(&format!("({column} IS NULL OR ({id} IS NOT NULL AND {column_text} <> {id}))"));
                Ok(())
            }
        }
    }

    fn join(
        &mut self,
        parts: &[Expr],
        word: &str,
        empty: &str,
        columns: &SqlColumns,
        depth: usize,
    ) -> Result<(), FilterError> {
        self.sql.push('(');
        if parts.is_empty() {
            self.sql.push_str(empty);
        }
        if parts.len() > MAX_FLAT {
            let (left, right) = parts.split_at(parts.len() / 2);
            self.join(left, word, empty, columns, depth)?;
            self.sql.push_str(word);
            self.join(right, word, empty, columns, depth)?;
        } else {
            for (number, part) in parts.iter().enumerate() {
                if number > 0 {
                    self.sql.push_str(word);
                }
                self.write(part, columns, depth + 1)?;
            }
        }
        self.sql.push(')');
        Ok(())
    }

    fn compare(
        &mut self,
        column: &str,
        comparison: Comparison,
        value: &Value,
        columns: &SqlColumns,
    ) -> Result<(), FilterError> {
        // Of two values, one is not the other. Databases that keep numbers instead may hold a third, which is neither.
        let (comparison, value) = match (comparison, value) {
            (Comparison::NotEqual, Value::Bool(flag)) => (Comparison::Equal, Value::Bool(!flag)),
            (comparison, value) => (comparison, value.clone()),
        };
        let sign = match comparison {
            Comparison::Equal => "=",
            Comparison::NotEqual => "<>",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        };
        // A column whose collation or type ignores case would show more than the policy means.
        let (guard, operand) = match (columns.dialect, &value) {
            (SqlDialect::Sqlite, Value::Text(_)) => {
                (stored(column, &value, comparison), format!("{column} COLLATE BINARY"))
            }
            (SqlDialect::Sqlite, _) => (stored(column, &value, comparison), column.to_owned()),
            (SqlDialect::Postgres, Value::Text(_)) => (is_whole(column), as_text(column)),
            // Only integers have `|`: 1.5 in a column of another kind is greater than 1, and no number of a decision.
            (SqlDialect::Postgres, Value::Integer(_)) => (format!("({column} | 0) IS NOT NULL"), column.to_owned()),
            (SqlDialect::Postgres, Value::Bool(_)) => (format!("{column} IS NOT NULL"), column.to_owned()),
        };
        let placeholder = self.bind(value, columns)?;
        self.sql.push_str(&format!("({guard} AND {operand} {sign} {placeholder})"));
        Ok(())
    }

    fn like(&mut self, column: &str, not: &str, pattern: &Pattern, columns: &SqlColumns) -> Result<(), FilterError> {
        match columns.dialect {
            SqlDialect::Sqlite => {
                let placeholder = self.bind(Value::Text(globbed(pattern)?), columns)?;
                // LIKE ignores case here. GLOB does not, but it ends at a NUL: `a*c` would show `abc`, NUL, `d`.
                let guard = format!("typeof({column}) = 'text' AND instr({column}, char(0)) = 0");
                self.sql.push_str(&format!("({guard} AND {column} {not}GLOB {placeholder})"));
            }
            SqlDialect::Postgres => {
                let placeholder = self.bind(Value::Text(liked(pattern)?), columns)?;
                let (guard, text) = (is_whole(column), as_text(column));
                // Not the backslash: how a literal of it is read depends on a setting.
                self.sql.push_str(&format!("({guard} AND {text} {not}LIKE {placeholder} ESCAPE '!')"));
            }
        }
        Ok(())
    }

    /// Binds a value, and returns its placeholder.
    fn bind(&mut self, value: Value, columns: &SqlColumns) -> Result<String, FilterError> {
        if self.params.len() >= MAX_COMPARISONS {
            return Err(FilterError::TooLarge);
        }
        if matches!(&value, Value::Text(text) if text.contains('\0')) {
            return Err(FilterError::Nul);
        }
        let kind = match &value {
            Value::Text(_) => "text",
            Value::Integer(_) => "bigint",
            Value::Bool(_) => "boolean",
        };
        let placeholder = match columns.dialect {
            SqlDialect::Sqlite => "?".to_owned(),
            SqlDialect::Postgres => format!("${}::{kind}", columns.first.saturating_add(self.params.len())),
        };
        self.params.push(value);
        Ok(placeholder)
    }
}

/// Reads a column of PostgreSQL as a text, in which case and accents count.
fn as_text(column: &str) -> String {
    format!("{column}::text COLLATE \"C\"")
}

/// Demands that a column of PostgreSQL is read as it is kept: `::text` drops the spaces that fill a `char(n)`, and who reads
/// the row gets them.
fn is_whole(column: &str) -> String {
    format!("{column} IS NOT NULL AND concat({column}) COLLATE \"C\" = {}", as_text(column))
}

/// Says how SQLite must have stored what is compared. Its columns hold values of any type, and it finds an order between
/// them all: `'abc' > 5`; and where a column is a number, `'042'` and 42 are equal.
fn stored(column: &str, value: &Value, comparison: Comparison) -> String {
    let kinds = match value {
        Value::Integer(_) | Value::Bool(_) => "= 'integer'",
        // Ids that are numbers are often stored as such.
        Value::Text(text) if comparison == Comparison::Equal && is_integer(text) => "IN ('text', 'integer')",
        Value::Text(_) => "= 'text'",
    };
    format!("typeof({column}) {kinds}")
}

/// Tells whether a text is how a whole number of 64 bits is written, and no other way to write it.
fn is_integer(text: &str) -> bool {
    text.parse::<i64>().is_ok_and(|number| number.to_string() == text)
}

/// Writes a pattern for SQLite's GLOB, where `*`, `?` and `[` stand for themselves in brackets alone.
fn globbed(pattern: &Pattern) -> Result<String, FilterError> {
    // GLOB reads the last two, and what is no UTF-8, as the first.
    let is_indistinct = |piece: &String| piece.contains(['\u{fffd}', '\u{fffe}', '\u{ffff}']);
    if pattern.pieces().iter().any(is_indistinct) {
        return Err(FilterError::Indistinct);
    }
    escaped(pattern, '*', |character, written| match character {
        '*' | '?' | '[' => written.extend(['[', character, ']']),
        _ => written.push(character),
    })
}

/// Writes a pattern for LIKE with `!` before what stands for itself.
fn liked(pattern: &Pattern) -> Result<String, FilterError> {
    escaped(pattern, '%', |character, written| match character {
        '%' | '_' | '!' => written.extend(['!', character]),
        _ => written.push(character),
    })
}

fn escaped(pattern: &Pattern, anything: char, write: impl Fn(char, &mut String)) -> Result<String, FilterError> {
    let mut written = String::new();
    for (number, piece) in pattern.pieces().iter().enumerate() {
        if number > 0 {
            written.push(anything);
        }
        piece.chars().for_each(|character| write(character, &mut written));
        if written.len() > MAX_PATTERN {
            return Err(FilterError::TooLarge);
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(name: &str) -> Expr {
        Expr::Compare(Operand::Attribute("owner".into()), Comparison::Equal, Value::Text(name.into()))
    }

    #[test]
    fn what_is_not_listed_or_too_large_is_an_error() {
        let columns = SqlColumns::new(SqlDialect::Sqlite, "orders").with_attribute("owner", "owner_id");
        let id = Expr::Compare(Operand::Id, Comparison::Equal, Value::Text("1".into()));
        for (expression, name) in [(Expr::Has("secret".into()), "secret"), (Expr::Lacks("x".into()), "x"), (id, "id")] {
            let some = Expr::Or(vec![owner("alice"), expression]);
            assert_eq!(Filter::Where(some).to_sql(&columns), Err(FilterError::NoColumn(name.into())));
        }
        let wide = Expr::Or(vec![owner("a"); MAX_COMPARISONS + 1]);
        assert_eq!(Filter::Where(wide).to_sql(&columns), Err(FilterError::TooLarge));
        let deep = (0..=MAX_DEPTH).fold(owner("a"), |inner, _| Expr::And(vec![inner]));
        assert_eq!(Filter::Where(deep).to_sql(&columns), Err(FilterError::TooLarge));
    }

    #[test]
    fn values_are_bound_and_identifiers_quoted() {
        let hostile = "x'; DROP TABLE orders; --";
        let columns = SqlColumns::new(SqlDialect::Postgres, "o\"rders")
            .with_attribute("owner", "own\"er")
            .with_first_parameter(3);
        let both = Expr::And(vec![owner(hostile), Expr::Or(vec![]), owner("b")]);
        let filter = Filter::Where(both).to_sql(&columns).unwrap();
        let column = r#""o""rders"."own""er""#;
        let text = format!("{column}::text COLLATE \"C\"");
        let one =
            |n| format!("({column} IS NOT NULL AND concat({column}) COLLATE \"C\" = {text} AND {text} = ${n}::text)");
        assert_eq!(filter.sql, format!("({} AND (1 = 0) AND {})", one(3), one(4)));
        assert_eq!(filter.params, [Value::Text(hostile.into()), Value::Text("b".into())]);
        assert_eq!(Filter::None.to_sql(&columns).unwrap().sql, "(1 = 0)");
    }

    #[test]
    fn patterns_are_escaped_for_their_dialect() {
        let pieces = ["50%_!", "", "[a]?*\\'"].map(str::to_owned);
        let like = Filter::Where(Expr::Like("note".into(), Pattern::new(pieces.clone())));
        let written =
            |dialect| like.to_sql(&SqlColumns::new(dialect, "o").with_attribute("note", "n")).unwrap().params.remove(0);
        assert_eq!(written(SqlDialect::Postgres), Value::Text("50!%!_!!%%[a]?*\\'".into()));
        assert_eq!(written(SqlDialect::Sqlite), Value::Text("50%_!**[[]a][?][*]\\'".into()));
        for dialect in [SqlDialect::Postgres, SqlDialect::Sqlite] {
            let columns = SqlColumns::new(dialect, "o").with_attribute("note", "n").with_attribute("owner", "w");
            let unlike = |piece: String| {
                Filter::Where(Expr::Unlike("note".into(), Pattern::new([piece, String::new()]))).to_sql(&columns)
            };
            assert_eq!(unlike("a".repeat(MAX_PATTERN)), Err(FilterError::TooLarge));
            assert_eq!(unlike("a\0".into()), Err(FilterError::Nul));
            assert_eq!(Filter::Where(owner("a\0")).to_sql(&columns), Err(FilterError::Nul));
            let other = Filter::Where(Expr::NamesAnother("note".into())).to_sql(&columns);
            assert_eq!(other, Err(FilterError::NoColumn("id".into())));
        }
    }
}
