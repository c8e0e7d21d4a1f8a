//! Decisions as a filter for a query: which rows may the subject see?
//!
//! A [`Filter`] is what a decision comes to when the resource is not known yet. [`Filter::to_sql`] writes it as a condition
//! for a `WHERE`, every value a bound parameter, and only over columns that [`SqlColumns`] lists. What SQL would have to
//! approximate is refused: there is never a wider filter instead.
//!
//! ```
//! use sekisho_policy::filter::{Comparison, Expr, Filter, Operand, SqlColumns, SqlDialect, Value};
//!
//! // In a service, `CedarPolicies::filter` makes it.
//! let own = Expr::Compare(Operand::Attribute("owner".into()), Comparison::Equal, Value::Text("alice".into()));
//! let columns = SqlColumns::new(SqlDialect::Sqlite, "orders").with_attribute("owner", "owner_id");
//! let filter = Filter::Where(own).to_sql(&columns)?;
//! let query = format!("SELECT * FROM orders WHERE {} ORDER BY id", filter.sql);
//! assert!(query.contains(r#""orders"."owner_id" COLLATE BINARY = ?"#));
//! assert_eq!(filter.params, [Value::Text("alice".into())]);
//! # Ok::<(), sekisho_policy::filter::FilterError>(())
//! ```

mod sql;

pub use self::sql::{FilterError, SqlColumns, SqlDialect, SqlFilter};

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
    /// It has this attribute, a text that the pattern matches.
    Like(Box<str>, Pattern),
    /// It has this attribute, a text that the pattern does not match.
    Unlike(Box<str>, Pattern),
    /// This attribute, which names a resource of the same type, does not name the resource itself; it may be missing.
    NamesAnother(Box<str>),
}

/// Is a pattern for a whole text: pieces, with anything or nothing between each and the next. Case counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<String>);

impl Pattern {
    /// Takes the pieces: `["a", "b"]` is what begins with `a` and ends with a later `b`, `["a"]` is `a` and nothing else.
    #[must_use]
    pub fn new(pieces: impl IntoIterator<Item = String>) -> Self {
        Self(pieces.into_iter().collect())
    }

    /// Lists the pieces.
    #[must_use]
    pub fn pieces(&self) -> &[String] {
        &self.0
    }
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
