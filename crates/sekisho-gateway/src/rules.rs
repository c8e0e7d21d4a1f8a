use sekisho_core::{ConfigError, Requirement, all_of};

use crate::path::{NormalPath, PathPattern, normal_host};

/// Says what a request needs to pass.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a new kind must break every match")]
pub enum Access {
    /// Passes without a look at any credential.
    Public,
    /// Needs a good credential.
    Authenticated,
    /// Needs a good credential whose principal satisfies this.
    Require(Requirement),
    /// Never passes.
    Deny,
}

/// Is one line of a [`RuleTable`]. Errors surface in [`RuleTable::new`].
///
/// # Examples
/// ```
/// use sekisho_core::scope;
/// use sekisho_gateway::{Access, Rule};
/// let rule = Rule::new("/orders/*", Access::Require(scope("orders:write"))).on_host("api.example").for_methods(["POST"]);
/// # let _ = rule;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Rule {
    path: String,
    host: Option<String>,
    methods: Vec<String>,
    access: Access,
}

impl Rule {
    /// Speaks of paths: `/orders`, `/orders/{id}`, or `/orders/*`.
    ///
    /// `/orders/*` stands for everything below `/orders/`. Rules that restrict cover `/orders` and `/orders/` as well; a public one does not,
    /// name them beside it. So too, `/orders/{id}` and `/orders/{id}/` are the same to rules that restrict, and two paths to a public one: many
    /// servers answer both alike.
    pub fn new(path: impl Into<String>, access: Access) -> Self {
        Self { path: path.into(), host: None, methods: Vec::new(), access }
    }

    /// Speaks of this host only, without port. Default: every host.
    pub fn on_host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// Tells whether a request could match it.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        Matcher::new(&self.path, true, self.host.as_deref(), &self.methods).map(|_| ())
    }

    /// Speaks of these methods only, in upper case. `GET` does not stand for `HEAD`. Default: every method.
    pub fn for_methods<I: IntoIterator<Item = S>, S: Into<String>>(mut self, methods: I) -> Self {
        self.methods = methods.into_iter().map(Into::into).collect();
        self
    }
}

/// Decides by host, path and method what a request needs. The first rule that fits decides; what no rule speaks of is denied.
#[derive(Clone, Debug)]
pub struct RuleTable(Vec<Line>);

#[derive(Clone, Debug)]
struct Line {
    matcher: Matcher,
    access: Access,
}

/// Matches requests by host, path and method.
#[derive(Clone, Debug)]
pub(crate) struct Matcher {
    path: PathPattern,
    covers_itself: bool,
    host: Option<Box<str>>,
    methods: Vec<Box<str>>,
}

impl RuleTable {
    /// How many rules a table may have.
    pub const MAX_RULES: usize = 10_000;

    /// Puts rules together.
    ///
    /// # Errors
    /// A path, host or method that no request could have; a rule that never decides, because one before it covers it; no rule at all;
    /// more than 10,000.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Result<Self, ConfigError> {
        let mut lines: Vec<Line> = Vec::new();
        for Rule { path, host, methods, access } in rules {
            let number = lines.len() + 1;
            let covers_itself = !matches!(access, Access::Public);
            let matcher = Matcher::new(&path, covers_itself, host.as_deref(), &methods)
                .map_err(|error| ConfigError::new(format!("rule {number}: {error}")))?;
            if let Some(before) = lines.iter().position(|line| line.matcher.covers(&matcher)) {
                let before = before + 1;
                return Err(ConfigError::new(format!("rule {number} ({path}) never decides: rule {before} covers it")));
            }
            if number > Self::MAX_RULES {
                return Err(ConfigError::new("more than 10,000 rules"));
            }
            lines.push(Line { matcher, access });
        }
        if lines.is_empty() {
            return Err(ConfigError::new("without a rule, everything is denied"));
        }
        Ok(Self(lines))
    }

    /// Tells what a request needs.
    ///
    /// - `host`: in lower case without port; a rule for a host does not fit without one.
    /// - `method`: in the letter case of the wire.
    #[must_use]
    pub fn decide(&self, host: Option<&str>, path: &NormalPath, method: &str) -> &Access {
        let line = self.0.iter().find(|line| line.matcher.matches(host, path, method));
        line.map_or(&Access::Deny, |line| &line.access)
    }

    /// Tells whether any rule speaks of a host.
    pub(crate) fn names_hosts(&self) -> bool {
        self.0.iter().any(|line| line.matcher.host.is_some())
    }
}

impl Matcher {
    pub(crate) fn new(
        path: &str,
        covers_itself: bool,
        host: Option<&str>,
        methods: &[impl AsRef<str>],
    ) -> Result<Self, ConfigError> {
        let path = PathPattern::parse(path)?;
        let host = match host {
            None => None,
            Some(host) => match normal_host(host).filter(|normal| normal == host) {
                Some(normal) => Some(normal.into()),
                None => {
                    return Err(ConfigError::new(format!(
                        "host {host:?} must be in lower case, without port and final dot"
                    )));
                }
            },
        };
        for method in methods.iter().map(AsRef::as_ref) {
            if method.is_empty() || !method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
                return Err(ConfigError::new(format!("method {method:?} must be in upper case")));
            }
        }
        Ok(Self { path, covers_itself, host, methods: methods.iter().map(|method| method.as_ref().into()).collect() })
    }

    pub(crate) fn matches(&self, host: Option<&str>, path: &NormalPath, method: &str) -> bool {
        let Self { path: pattern, covers_itself, host: own_host, methods } = self;
        own_host.as_deref().is_none_or(|own| Some(own) == host)
            && (methods.is_empty() || methods.iter().any(|own| **own == *method))
            && pattern.matches(path, *covers_itself)
    }

    /// Tells whether whatever fits the other fits this.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        (self.host.is_none() || self.host == other.host)
            && (self.methods.is_empty()
                || !other.methods.is_empty() && other.methods.iter().all(|method| self.methods.contains(method)))
            && self.path.covers(self.covers_itself, &other.path, other.covers_itself)
    }
}

impl Access {
    /// Returns what a principal must satisfy, for kinds of access that need one.
    pub(crate) fn requirement(&self) -> Option<Requirement> {
        match self {
            Self::Public | Self::Deny => None,
            Self::Authenticated => Some(all_of([])),
            Self::Require(requirement) => Some(requirement.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use sekisho_core::scope;

    use super::*;

    fn kind(access: &Access) -> &'static str {
        match access {
            Access::Public => "public",
            Access::Authenticated => "authenticated",
            Access::Require(_) => "require",
            Access::Deny => "deny",
        }
    }

    fn table() -> RuleTable {
        RuleTable::new([
            Rule::new("/health", Access::Public),
            Rule::new("/assets/*", Access::Public),
            Rule::new("/admin/*", Access::Deny).on_host("api.example"),
            Rule::new("/orders/*", Access::Require(scope("orders:write"))).for_methods(["POST", "DELETE"]),
            Rule::new("/orders/*", Access::Authenticated).for_methods(["GET"]),
            Rule::new("/*", Access::Authenticated).on_host("api.example").for_methods(["GET"]),
        ])
        .unwrap()
    }

    #[test]
    fn the_first_rule_that_fits_decides_and_the_rest_is_denied() {
        let table = table();
        for (host, path, method, expected) in [
            ("x.example", "/health", "GET", "public"),
            ("x.example", "/health", "DELETE", "public"),
            ("x.example", "/health/", "GET", "deny"),
            ("x.example", "/healthz", "GET", "deny"),
            ("x.example", "/assets/a.css", "GET", "public"),
            ("x.example", "/assets", "GET", "deny"),
            ("x.example", "/assets/", "GET", "deny"),
            ("x.example", "/orders", "POST", "require"),
            ("x.example", "/orders/", "POST", "require"),
            ("x.example", "/orders/7", "DELETE", "require"),
            ("x.example", "/orders/7", "GET", "authenticated"),
            ("x.example", "/orders/7", "HEAD", "deny"),
            ("x.example", "/orders/7", "get", "deny"),
            ("x.example", "/orders/7", "PATCH", "deny"),
            ("x.example", "/ordersx", "GET", "deny"),
            ("x.example", "/Orders", "GET", "deny"),
            ("x.example", "/", "GET", "deny"),
            ("api.example", "/admin", "GET", "deny"),
            ("api.example", "/admin/x", "GET", "deny"),
            ("api.example", "/administer", "GET", "authenticated"),
            ("api.example", "/", "GET", "authenticated"),
            ("api.example.evil", "/", "GET", "deny"),
        ] {
            let access = table.decide(Some(host), &NormalPath::parse(path).unwrap(), method);
            assert_eq!(kind(access), expected, "{method} {host}{path}");
        }
        assert_eq!(kind(table.decide(None, &NormalPath::parse("/").unwrap(), "GET")), "deny");
    }

    #[test]
    fn tricks_with_paths_reach_no_rule_but_the_one_for_what_they_mean() {
        let table = table();
        // Whoever decodes `%61` sees `/admin`, so the decision is the one about `/admin`.
        let disguised = NormalPath::parse("/%61dmin/x").unwrap();
        assert_eq!(kind(table.decide(Some("api.example"), &disguised, "GET")), "deny");
        for trick in
            ["/assets/../admin/x", "/assets/%2e%2e/admin", "/assets//admin", "/assets/..;/admin", "/assets\\..\\admin"]
        {
            assert!(NormalPath::parse(trick).is_err(), "{trick}");
        }
    }

    #[test]
    fn refuses_tables_that_do_not_say_what_they_seem_to() {
        let public = |path: &str| Rule::new(path, Access::Public);
        for rules in [
            vec![],
            vec![public("/a"), public("/a")],
            vec![Rule::new("/a", Access::Deny), Rule::new("/a/", Access::Authenticated)],
            vec![Rule::new("/a/", Access::Authenticated), public("/a")],
            vec![Rule::new("/*", Access::Authenticated), Rule::new("/admin/*", Access::Deny)],
            vec![Rule::new("/a/*", Access::Authenticated), Rule::new("/a", Access::Deny)],
            vec![public("/{x}"), Rule::new("/a", Access::Deny).for_methods(["GET"])],
            vec![public("a")],
            vec![public("/a").on_host("API.example")],
            vec![public("/a").on_host("api.example:80")],
            vec![public("/a").for_methods(["get"])],
            vec![public("/a").for_methods([""])],
        ] {
            assert!(RuleTable::new(rules.clone()).is_err(), "{rules:?}");
        }
        // Not covered: another host, another method, the path itself.
        for rules in [
            vec![public("/a/*").on_host("a.example"), Rule::new("/a/*", Access::Deny)],
            vec![public("/a").for_methods(["GET"]), Rule::new("/a", Access::Deny)],
            vec![public("/a/*"), Rule::new("/a/*", Access::Deny)],
            vec![public("/a"), Rule::new("/a/", Access::Deny)],
        ] {
            assert!(RuleTable::new(rules.clone()).is_ok(), "{rules:?}");
        }
    }

    #[test]
    fn a_final_slash_leads_to_no_looser_rule() {
        let table = RuleTable::new([
            Rule::new("/admin", Access::Deny),
            Rule::new("/users/", Access::Deny),
            Rule::new("/orders/{id}", Access::Require(scope("orders"))),
            Rule::new("/login", Access::Public),
            Rule::new("/*", Access::Authenticated),
        ])
        .unwrap();
        for (path, expected) in [
            ("/admin", "deny"),
            ("/admin/", "deny"),
            ("/users", "deny"),
            ("/users/", "deny"),
            ("/orders/7", "require"),
            ("/orders/7/", "require"),
            ("/orders/", "authenticated"),
            ("/login", "public"),
            ("/login/", "authenticated"),
        ] {
            let access = table.decide(None, &NormalPath::parse(path).unwrap(), "GET");
            assert_eq!(kind(access), expected, "{path}");
        }
    }
}
