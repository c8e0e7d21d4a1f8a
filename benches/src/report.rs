//! Tables for people, JSON lines for machines.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::measure::Row;

/// Prints rows as a Markdown table and writes them to `target/bench/NAME.jsonl`.
pub fn report(name: &str, rows: &[Row]) {
    print_table(rows);
    write_lines(name, &rows.iter().map(line).collect::<Vec<_>>());
}

/// Prints rows as a Markdown table.
pub fn print_table(rows: &[Row]) {
    println!("| case | median ns | min ns | baseline | ratio | allocations |");
    println!("|---|--:|--:|---|--:|--:|");
    for row in rows {
        println!(
            "| {} | {} | {} | {} | {:.3} | {} |",
            row.case,
            thousands(row.median_ns),
            thousands(row.min_ns),
            row.baseline,
            row.ratio,
            trimmed(row.allocations),
        );
    }
}

/// Writes one JSON object a line to `target/bench/NAME.jsonl`.
pub fn write_lines(name: &str, lines: &[Value]) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let path = folder.join(format!("{name}.jsonl"));
    match fs::create_dir_all(&folder).and_then(|()| fs::write(&path, text)) {
        Ok(()) => println!("\nwritten to target/bench/{name}.jsonl"),
        Err(error) => eprintln!("cannot write {name}.jsonl: {error}"),
    }
}

/// Turns a row into the object of its line.
pub fn line(row: &Row) -> Value {
    json!({
        "case": row.case,
        "median_ns": (row.median_ns * 10.0).round() / 10.0,
        "baseline": row.baseline,
        "ratio": (row.ratio * 10_000.0).round() / 10_000.0,
        "allocations": row.allocations,
        "min_ns": (row.min_ns * 10.0).round() / 10.0,
    })
}

/// Writes 23456.7 as 23,457.
pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn trimmed(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}
