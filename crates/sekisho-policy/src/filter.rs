//! Decisions as a filter for a query: which rows may the subject see?
//!
//! A [`Filter`] is what a decision comes to when the resource is not known yet. [`Filter::to_sql`] writes it as a condition
//! for a `WHERE`, every value a bound parameter, and only over columns that [`SqlColumns`] lists.

use std::collections::BTreeMap;

/// Says for which resources the answer is a permit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a fourth kind must break every caller's match")]
pub enum Filter {
    /// For all.
    All,
    /// For none.
    None,
    /// For those of which this is true.
    Where(Expr),
}

/// Is a condition on a resource. It is true or false, never unknown: what is said of an attribute that is missing is false.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expr {
    /// All are true; so is none at all.
    And(Vec<Expr>),
    /// One is true at least; none at all is false.
    Or(Vec<Expr>),
    /// It has this attribute.
    Has(Box<str>),
    /// It does not have this attribute.
    Lacks(Box<str>),
    /// It has what is named on the left, which compares so with the value.
    Compare(Operand, Comparison, Value),
}

/// Names what is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a resource has an id and attributes")]
pub enum Operand {
    /// The resource's id.
    Id,
    /// One of its attributes.
    Attribute(Box<str>),
}

/// Says how two values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there are these six")]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// Is a value to compare with, bound as a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value {
    /// A text; also the id of an entity.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Bool(bool),
}

/// Says why there is no filter. Nothing may be shown then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// No column is listed for an attribute, or for the id.
    #[error("no column is listed for `{0}`")]
    NoColumn(Box<str>),
    /// It is nested deeper than 64 levels, or compares more than 1,000 times.
    #[error("the filter is too large")]
    TooLarge,
}

/// Says which database reads the condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SqlDialect {
    /// SQLite: placeholders are `?`.
    Sqlite,
    /// PostgreSQL: placeholders are `$1`, `$2` and so on.
    Postgres,
}

/// Lists the columns that a filter may name, each of the type of its attribute: text, integer (64 bits) or boolean. A
/// missing attribute is `NULL`.
///
/// SQLite stores values of any type in any column. There, a row whose value is not stored as its attribute's type (a boolean as
/// the integer 0 or 1) is not shown by a comparison; but an id that is stored as an integer equals its decimal digits.
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

impl Filter {
    /// Writes it as a condition in SQL.
    ///
    /// # Errors
    /// [`FilterError`] when a column is not listed, or it is too large. There is no wider filter instead.
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
            Expr::Compare(operand, comparison, value) => self.compare(operand, *comparison, value, columns),
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
        for (number, part) in parts.iter().enumerate() {
            if number > 0 {
                self.sql.push_str(word);
            }
            self.write(part, columns, depth + 1)?;
        }
        self.sql.push(')');
        Ok(())
    }

    fn compare(
        &mut self,
        operand: &Operand,
        comparison: Comparison,
        value: &Value,
        columns: &SqlColumns,
    ) -> Result<(), FilterError> {
        if self.params.len() >= MAX_COMPARISONS {
            return Err(FilterError::TooLarge);
        }
        let column = match operand {
            Operand::Id => columns.column(None)?,
            Operand::Attribute(name) => columns.column(Some(name))?,
        };
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
        let placeholder = match columns.dialect {
            SqlDialect::Sqlite => "?".to_owned(),
            SqlDialect::Postgres => format!("${}", columns.first.saturating_add(self.params.len())),
        };
        // A column whose collation or type ignores case would show more than the policy means.
        let read = match (&value, columns.dialect) {
            (Value::Text(_), SqlDialect::Sqlite) => " COLLATE BINARY",
            (Value::Text(_), SqlDialect::Postgres) => "::text COLLATE \"C\"",
            (Value::Integer(_) | Value::Bool(_), _) => "",
        };
        let guard = match columns.dialect {
            SqlDialect::Sqlite => format!("typeof({column}) {}", stored(&value, comparison)),
            SqlDialect::Postgres => format!("{column} IS NOT NULL"),
        };
        self.sql.push_str(&format!("({guard} AND {column}{read} {sign} {placeholder})"));
        self.params.push(value);
        Ok(())
    }
}

/// Says how SQLite must have stored what is compared. Its columns hold values of any type, and it finds an order between
/// them all: `'abc' > 5`; and where a column is a number, `'042'` and 42 are equal.
fn stored(value: &Value, comparison: Comparison) -> &'static str {
    match value {
        Value::Integer(_) | Value::Bool(_) => "= 'integer'",
        // Ids that are numbers are often stored as such.
        Value::Text(text) if comparison == Comparison::Equal && is_integer(text) => "IN ('text', 'integer')",
        Value::Text(_) => "= 'text'",
    }
}

/// Tells whether a text is how a whole number of 64 bits is written, and no other way to write it.
fn is_integer(text: &str) -> bool {
    text.parse::<i64>().is_ok_and(|number| number.to_string() == text)
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
        let one = |n| format!("({column} IS NOT NULL AND {column}::text COLLATE \"C\" = ${n})");
        assert_eq!(filter.sql, format!("({} AND (1 = 0) AND {})", one(3), one(4)));
        assert_eq!(filter.params, [Value::Text(hostile.into()), Value::Text("b".into())]);
        assert_eq!(Filter::None.to_sql(&columns).unwrap().sql, "(1 = 0)");
    }
}
