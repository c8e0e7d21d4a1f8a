//! Paths such as `data.shop.decision` and `data.graph["1.0.0"].deny`.

/// Splits a path into its parts; `None` for what is no path of names and quoted names.
pub(super) fn split(path: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = path;
    loop {
        if let Some(quoted) = rest.strip_prefix("[\"") {
            let end = quoted.find("\"]")?;
            let (name, after) = (quoted.get(..end)?, quoted.get(end + 2..)?);
            if name.contains(['"', '\\']) {
                return None;
            }
            parts.push(name.to_owned());
            rest = after;
        } else {
            let name = if parts.is_empty() { rest } else { rest.strip_prefix('.')? };
            let end = name.find(['.', '[']).unwrap_or(name.len());
            let (name, after) = (name.get(..end)?, name.get(end..)?);
            if !is_identifier(name) {
                return None;
            }
            parts.push(name.to_owned());
            rest = after;
        }
        if rest.is_empty() {
            return Some(parts);
        }
    }
}

fn is_identifier(name: &str) -> bool {
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    !name.is_empty() && !name.starts_with(|first: char| first.is_ascii_digit()) && name.chars().all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_names_and_quoted_names_and_nothing_else() {
        assert_eq!(split("data.shop.decision").unwrap(), ["data", "shop", "decision"]);
        assert_eq!(split(r#"data.graph["1.0.0"].deny"#).unwrap(), ["data", "graph", "1.0.0", "deny"]);
        for bad in [
            "",
            ".",
            "data.",
            "data..a",
            "data.a b",
            "data[a]",
            "data[\"a\"",
            "data[\"a\\\"\"]",
            "1.a",
            "data.a;x",
            "data[\"a\"]b",
        ] {
            assert!(split(bad).is_none(), "{bad}");
        }
    }
}
