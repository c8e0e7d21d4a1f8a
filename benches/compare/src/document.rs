//! The tables, as Markdown.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{fs, io};

use crate::corpus;
use crate::libraries::Library;
use crate::snippets;
use crate::tally::{Ids, Tally};

const BEGIN: &str = "<!-- cargo xtask compare: begin -->";
const END: &str = "<!-- cargo xtask compare: end -->";

/// Writes all tables.
pub(crate) fn tables(libraries: &[Box<dyn Library>], tokens: &[Tally], vectors: Option<&[Tally]>) -> String {
    let mut out = String::new();
    out.push_str("### Access tokens: the hostile-token corpus\n\n");
    summary(&mut out, libraries, tokens, true);
    if let Some(vectors) = vectors {
        out.push_str("\n### Signatures: published vectors\n\n");
        summary(&mut out, libraries, vectors, false);
    }
    out.push_str("\n### Lines that guard a route\n\n| library | lines |\n|---|--:|\n");
    for (name, text) in snippets::ALL {
        let _ = writeln!(out, "| `{name}` | {} |", snippets::lines(text));
    }
    out.push_str("\n### How each was set\n\n");
    for library in libraries {
        let _ = writeln!(out, "- `{}` {}: {}.", library.name(), version(library.name()), library.settings());
    }
    out.push_str("\n### Which tokens\n");
    for (library, tally) in libraries.iter().zip(tokens) {
        details(
            &mut out,
            library.as_ref(),
            tally,
            vectors.and_then(|all| {
                let at = libraries.iter().position(|other| other.name() == library.name())?;
                all.get(at)
            }),
        );
    }
    out
}

fn summary(out: &mut String, libraries: &[Box<dyn Library>], tallies: &[Tally], with_free: bool) {
    out.push_str("| library | version | asked | agree | wrongly accepted | wrongly refused | panicked |");
    out.push_str(if with_free { " taken where a standard leaves room |\n" } else { " not offered |\n" });
    out.push_str("|---|---|--:|--:|--:|--:|--:|--:|\n");
    for (library, tally) in libraries.iter().zip(tallies) {
        let last = if with_free { tally.took_where_free.len() } else { tally.not_offered };
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} | {} | {} | {last} |",
            library.name(),
            version(library.name()),
            tally.asked,
            tally.agreed,
            tally.wrongly_accepted.len(),
            tally.wrongly_refused.len(),
            tally.panicked.len(),
        );
    }
}

fn details(out: &mut String, library: &dyn Library, corpus: &Tally, vectors: Option<&Tally>) {
    let algorithms = corpus::ALGORITHMS.iter().filter(|(_, name)| library.offers(name)).count();
    let _ = write!(out, "\n#### `{}`\n", library.name());
    let before = out.len();
    for (title, pick) in [
        ("wrongly accepted", (|tally: &Tally| &tally.wrongly_accepted) as fn(&Tally) -> &Ids),
        ("wrongly refused", |tally| &tally.wrongly_refused),
        ("panicked", |tally| &tally.panicked),
        ("taken where a standard leaves room", |tally| &tally.took_where_free),
    ] {
        for (about, tally, variants) in [("corpus", Some(corpus), algorithms), ("vectors", vectors, 1)] {
            let Some(ids) = tally.map(pick).filter(|ids| !ids.0.is_empty()) else { continue };
            let list: Vec<_> = ids
                .0
                .iter()
                .map(|(id, (name, which))| {
                    let which =
                        if which.len() == variants { String::new() } else { format!(" with {}", which.join(", ")) };
                    format!("{id} ({}{which})", escaped(name))
                })
                .collect();
            let _ = write!(out, "\n**{title}** ({about}): {}.\n", list.join("; "));
        }
    }
    if out.len() == before {
        out.push_str("\nNone.\n");
    }
}

/// Keeps names of cases from being read as Markdown or HTML.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, character| {
        if matches!(character, '|' | '<' | '*' | '_' | '`' | '[' | '\\') {
            out.push('\\');
        }
        out.push(if character.is_control() { ' ' } else { character });
        out
    })
}

/// Reads a crate's version out of the lock file that it was built with.
fn version(name: &str) -> String {
    let lock = include_str!("../../Cargo.lock");
    let mut newest = "?";
    let mut lines = lock.lines();
    while let Some(line) = lines.next() {
        if line == format!("name = \"{name}\"") {
            newest =
                lines.next().and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"')).unwrap_or(newest);
        }
    }
    newest.to_owned()
}

/// Puts the tables between the marks in `docs/comparison.md`.
pub(crate) fn write(tables: &str) -> io::Result<()> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/comparison.md");
    let page = fs::read_to_string(&path)?;
    let marked = page.split_once(BEGIN).and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
    let (head, tail) = marked.ok_or_else(|| io::Error::other("the marks are missing"))?;
    fs::write(&path, format!("{head}{BEGIN}\n\n{tables}\n{END}{tail}"))
}
