//! Reads TOML key by key, and notes what is wrong instead of stopping.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::GatewayConfig;
use super::mistake::{ConfigMistake, ConfigMistakes};
use crate::authorizer::is_scope;

/// Collects mistakes.
pub(super) struct Reader<'a> {
    text: &'a str,
    mistakes: RefCell<Vec<ConfigMistake>>,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, mistakes: RefCell::new(Vec::new()) }
    }

    /// Parses the file, noting all that is no TOML.
    pub(super) fn table(&self) -> Option<Spanned<DeTable<'a>>> {
        if self.text.len() > GatewayConfig::MAX_BYTES {
            self.say(0..0, "longer than 1 MiB");
            return None;
        }
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            self.say(error.span().unwrap_or_default(), format!("no TOML: {}", error.message().replace('\n', ", ")));
        }
        errors.is_empty().then_some(table)
    }

    pub(super) fn root<'b>(&'b self, table: &'b Spanned<DeTable<'a>>) -> Section<'b> {
        Section { reader: self, table: table.get_ref(), span: 0..0, name: String::new(), used: RefCell::default() }
    }

    /// Notes a mistake at a place.
    pub(super) fn say(&self, span: Range<usize>, message: impl Into<String>) {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        self.mistakes.borrow_mut().push(ConfigMistake::new(line, message));
    }

    pub(super) fn has_mistakes(&self) -> bool {
        !self.mistakes.borrow().is_empty()
    }

    pub(super) fn into_mistakes(self) -> Option<ConfigMistakes> {
        ConfigMistakes::of(self.mistakes.into_inner())
    }
}

/// Is a table being read. [`finish`](Self::finish) notes the keys that nobody asked for.
pub(super) struct Section<'a> {
    reader: &'a Reader<'a>,
    table: &'a DeTable<'a>,
    span: Range<usize>,
    name: String,
    used: RefCell<BTreeSet<String>>,
}

impl<'a> Section<'a> {
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    pub(super) fn say(&self, span: Range<usize>, message: impl Into<String>) {
        self.reader.say(span, message);
    }

    fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.used.borrow_mut().insert(key.to_owned());
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Returns where a key stands, or where its table begins.
    pub(super) fn span_of(&self, key: &str) -> Range<usize> {
        let found = self.table.iter().find(|(name, _)| name.get_ref() == key);
        found.map_or_else(|| self.span(), |(name, _)| name.span())
    }

    /// Returns where `[outer.inner]` stands.
    pub(super) fn span_within(&self, outer: &str, inner: &str) -> Range<usize> {
        let found = self.table.iter().find(|(name, _)| name.get_ref() == outer);
        let table = found.and_then(|(_, value)| value.get_ref().as_table());
        let inner = table.and_then(|table| table.iter().find(|(name, _)| name.get_ref() == inner));
        inner.map_or_else(|| self.span_of(outer), |(name, _)| name.span())
    }

    fn wrong(&self, key: &str, expected: &str) {
        self.say(self.span_of(key), format!("`{key}` must be {expected}"));
    }

    pub(super) fn plain_text(&self, key: &str) -> Option<String> {
        let value = self.get(key)?;
        match value.get_ref().as_str() {
            Some("") => self.wrong(key, "text that is not empty"),
            Some(text) => return Some(text.to_owned()),
            None => self.wrong(key, "text"),
        }
        None
    }

    pub(super) fn required_text(&self, key: &str) -> Option<String> {
        if !self.has(key) {
            self.lacks(key);
        }
        self.plain_text(key)
    }

    pub(super) fn lacks(&self, key: &str) {
        self.say(self.span(), format!("{} lacks `{key}`", self.name));
    }

    pub(super) fn choice(&self, key: &str, choices: &[&str]) -> Option<String> {
        let text = self.plain_text(key)?;
        if choices.contains(&&*text) {
            return Some(text);
        }
        self.wrong(key, &format!("one of {}", choices.join(", ")));
        None
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        let Some(value) = self.get(key) else { return false };
        value.get_ref().as_bool().unwrap_or_else(|| {
            self.wrong(key, "true or false");
            false
        })
    }

    pub(super) fn number(&self, key: &str, least: u64, most: u64) -> Option<u64> {
        let value = self.get(key)?;
        let number = value.get_ref().as_integer().and_then(|n| u64::from_str_radix(n.as_str(), n.radix()).ok());
        match number {
            Some(number) if (least..=most).contains(&number) => Some(number),
            _ if most == u64::MAX => {
                self.wrong(key, &format!("a whole number, {least} at the least"));
                None
            }
            _ => {
                self.wrong(key, &format!("a whole number from {least} to {most}"));
                None
            }
        }
    }

    /// Reads a time in milliseconds, up to a day.
    pub(super) fn millis(&self, key: &str) -> Option<Duration> {
        self.number(key, 1, 24 * 3600 * 1000).map(Duration::from_millis)
    }

    /// Reads a list of texts; an absent one is empty, an empty one is a mistake.
    pub(super) fn plain_texts(&self, key: &str) -> Vec<String> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong(key, "a list of texts");
            return Vec::new();
        };
        let texts: Vec<String> = array
            .iter()
            .filter_map(|one| {
                let text = one.get_ref().as_str().filter(|text| !text.is_empty());
                if text.is_none() {
                    self.say(one.span(), format!("`{key}` must be a list of texts, none of them empty"));
                }
                text.map(str::to_owned)
            })
            .collect();
        if array.iter().next().is_none() {
            self.wrong(key, "a list with something in it, or not be there");
        }
        texts
    }

    pub(super) fn scopes(&self, key: &str) -> Vec<String> {
        let scopes = self.plain_texts(key);
        for bad in scopes.iter().filter(|scope| !is_scope(scope)) {
            self.say(self.span_of(key), format!("{bad:?} is not a scope"));
        }
        scopes
    }

    pub(super) fn section(&self, key: &str) -> Option<Section<'a>> {
        let value = self.get(key)?;
        match value.get_ref().as_table() {
            Some(table) => Some(self.inner(table, self.span_of(key), format!("[{key}]"))),
            None => {
                self.wrong(key, "a table");
                None
            }
        }
    }

    /// Returns a table, or nothing, without a word, for anything else.
    pub(super) fn table_or(&self, key: &str) -> Option<Section<'a>> {
        let table = self.get(key)?.get_ref().as_table()?;
        Some(self.inner(table, self.span_of(key), format!("`{key}`")))
    }

    /// Lists `[key.NAME]` for each name.
    pub(super) fn named_sections(&self, key: &str) -> Vec<(String, Section<'a>)> {
        let Some(outer) = self.get(key) else { return Vec::new() };
        let Some(table) = outer.get_ref().as_table() else {
            self.wrong(key, "a table of tables");
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (name, value) in table {
            match value.get_ref().as_table() {
                Some(inner) => {
                    let title = format!("[{key}.{}]", name.get_ref());
                    sections.push((name.get_ref().to_string(), self.inner(inner, name.span(), title)));
                }
                None => self.say(name.span(), format!("`{key}.{}` must be a table", name.get_ref())),
            }
        }
        sections
    }

    /// Lists `[[key]]`.
    pub(super) fn list(&self, key: &str) -> Vec<Section<'a>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong(key, "a list of tables");
            return Vec::new();
        };
        let mut sections = Vec::new();
        for one in array {
            match one.get_ref().as_table() {
                Some(inner) => sections.push(self.inner(inner, one.span(), format!("[[{key}]]"))),
                None => self.say(one.span(), format!("`{key}` must be a list of tables")),
            }
        }
        sections
    }

    fn inner(&self, table: &'a DeTable<'a>, span: Range<usize>, name: String) -> Section<'a> {
        Section { reader: self.reader, table, span, name, used: RefCell::default() }
    }

    /// Notes each key that nobody asked for: a word misspelt must not be a rule left out.
    pub(super) fn finish(&self) {
        let used = self.used.borrow();
        for (name, _) in self.table.iter().filter(|(name, _)| !used.contains(name.get_ref().as_ref())) {
            let known = used.iter().cloned().collect::<Vec<_>>().join(", ");
            let place = if self.name.is_empty() { "the file" } else { &self.name };
            self.say(name.span(), format!("{place} knows no `{}`; it knows {known}", name.get_ref().escape_debug()));
        }
    }
}
