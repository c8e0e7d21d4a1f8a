//! The lines that guard one axum route with each library: `GET /orders` for access tokens of one issuer and one audience.
//!
//! They compile with this program and are never run. What lies between `// begin` and `// end` is counted, blank lines not.

#![allow(dead_code, reason = "what matters is that it compiles")]

mod authkestra;
mod huskarl;
mod josekit;
mod jsonwebtoken;
mod jwt_simple;
mod sekisho;

/// Lists names and texts.
pub(crate) const ALL: [(&str, &str); 6] = [
    ("sekisho-axum", include_str!("snippets/sekisho.rs")),
    ("jsonwebtoken", include_str!("snippets/jsonwebtoken.rs")),
    ("jwt-simple", include_str!("snippets/jwt_simple.rs")),
    ("josekit", include_str!("snippets/josekit.rs")),
    ("huskarl-axum", include_str!("snippets/huskarl.rs")),
    ("authkestra-resource", include_str!("snippets/authkestra.rs")),
];

type Error = Box<dyn std::error::Error>;

async fn orders() -> &'static str {
    "orders"
}

/// Counts the lines between the marks.
pub(crate) fn lines(text: &str) -> usize {
    let marked = text.split("// begin").nth(1).and_then(|rest| rest.split("// end").next()).unwrap_or_default();
    marked.lines().filter(|line| !line.trim().is_empty()).count()
}
