use super::{Message, Page, PageContent, PageForm, Pages, Problem, escape};

/// Writes plain pages, with a name and a style sheet of one's own.
///
/// # Examples
/// ```
/// use sekisho_issuer::PlainPages;
/// let pages = PlainPages::new().with_name("Example Inc.").with_style_sheet("body { background: linen }");
/// # let _ = pages;
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct PlainPages {
    name: Option<String>,
    style_sheet: String,
}

impl PlainPages {
    /// Starts with the default look.
    pub fn new() -> Self {
        Self { name: None, style_sheet: DEFAULT_STYLE.to_owned() }
    }

    /// Sets the name that stands on each page, above its heading and in its title. Default: none.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Replaces the style sheet.
    pub fn with_style_sheet(mut self, css: impl Into<String>) -> Self {
        self.style_sheet = css.into();
        self
    }
}

impl Default for PlainPages {
    fn default() -> Self {
        Self::new()
    }
}

impl Pages for PlainPages {
    fn render(&self, page: &Page<'_>) -> String {
        let name = self.name.as_deref().map(escape);
        let style = escape(page.style_sheet);
        let main = match &page.content {
            PageContent::Login { form, client, username, problem } => {
                let goes_to = client
                    .map_or(String::new(), |client| format!("<p>to go on to <strong>{}</strong></p>", escape(client)));
                let username = escape(username);
                let fields = format!(
                    r#"<label>User name<input name="username" value="{username}" autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="256" required autofocus></label>
<label>Password<input name="password" type="password" autocomplete="current-password" maxlength="1024" required></label>
<button>Sign in</button>"#
                );
                format!("<h1>Sign in</h1>{goes_to}{}{}", told(*problem), write_form(form, &fields))
            }
            PageContent::SecondFactor { form, problem } => {
                let fields = r#"<label>Code<input name="code" autocomplete="one-time-code" autocapitalize="none" maxlength="64" required autofocus></label>
<button>Continue</button>"#;
                format!("<h1>Second step</h1>{}{}", told(*problem), write_form(form, fields))
            }
            PageContent::Consent { form, client, scopes, user_code } => {
                let items: String =
                    scopes.iter().map(|scope| format!("<li><code>{}</code></li>", escape(scope))).collect();
                let code = user_code.map_or(String::new(), |code| {
                    let code = escape(code);
                    format!(r#"<p>Go on only if your device shows <strong class="code">{code}</strong>.</p>"#)
                });
                let client = escape(client);
                let form = write_form(form, ALLOW_OR_DENY);
                format!("<h1>Allow access?</h1>{code}<p><strong>{client}</strong> asks for:</p><ul>{items}</ul>{form}")
            }
            PageContent::Device { form, user_code, problem } => {
                let user_code = escape(user_code);
                let fields = format!(
                    r#"<label>Code that your device shows<input name="user_code" value="{user_code}" autocomplete="off" autocapitalize="characters" spellcheck="false" maxlength="16" required autofocus></label>
<button>Continue</button>"#
                );
                format!("<h1>Connect a device</h1>{}{}", told(*problem), write_form(form, &fields))
            }
            PageContent::Logout { form, client } => {
                let asked = client
                    .map_or(String::new(), |client| format!("<p><strong>{}</strong> asks for it.</p>", escape(client)));
                format!("<h1>Sign out?</h1>{asked}{}", write_form(form, SIGN_OUT_OR_STAY))
            }
            PageContent::Message(message) => say(*message),
        };
        // Each page begins with its heading.
        let heading = main.strip_prefix("<h1>").and_then(|rest| rest.split_once("</h1>")).map_or("", |(text, _)| text);
        let (title, name) = match name {
            Some(name) => (format!("{heading} – {name}"), format!(r#"<p class="name">{name}</p>"#)),
            None => (heading.to_owned(), String::new()),
        };
        format!(
            r#"<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title><link rel="stylesheet" href="{style}"></head>
<body><main>{name}{main}</main></body></html>
"#
        )
    }

    fn style_sheet(&self) -> &str {
        &self.style_sheet
    }
}

fn write_form(form: &PageForm<'_>, fields: &str) -> String {
    format!(r#"<form method="post" action="{}">{}{fields}</form>"#, escape(form.action), form.hidden)
}

fn told(problem: Option<Problem>) -> String {
    match problem {
        None => String::new(),
        Some(Problem::Wrong) => r#"<p role="alert">That is not right. Please try again.</p>"#.to_owned(),
        Some(Problem::TryLater(seconds)) => {
            format!(r#"<p role="alert">Too many attempts. Please wait {seconds} seconds.</p>"#)
        }
        Some(Problem::Outdated) => {
            r#"<p role="alert">This page was open for too long. Please try again.</p>"#.to_owned()
        }
    }
}

fn say(message: Message) -> String {
    let (title, text) = match message {
        Message::BadRequest(reason) => ("This did not work", reason),
        Message::Unavailable => ("This did not work", "Something is broken on our side. Please try again in a moment."),
        Message::DeviceAllowed => ("Done", "Your device is connected. You can close this page."),
        Message::DeviceDenied => ("Done", "Your device was not connected. You can close this page."),
        Message::LoggedOut => ("Signed out", "You are signed out here. You can close this page."),
        Message::StillLoggedIn => ("Still signed in", "Nothing has changed. You can close this page."),
    };
    format!("<h1>{title}</h1><p>{}</p>", escape(text))
}

const ALLOW_OR_DENY: &str = r#"<button name="decision" value="allow">Allow</button>
<button name="decision" value="deny" class="second">Deny</button>"#;
const SIGN_OUT_OR_STAY: &str = r#"<button name="decision" value="allow">Sign out</button>
<button name="decision" value="deny" class="second">Stay signed in</button>"#;

const DEFAULT_STYLE: &str = "\
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { margin: 0; min-height: 100vh; display: grid; place-items: center }
main { box-sizing: border-box; width: min(24rem, 100vw); padding: 2rem }
h1 { font-size: 1.5rem; margin: 0 0 1rem }
.name { margin: 0; opacity: .7 }
label { display: block; margin: 0 0 1rem }
input { box-sizing: border-box; display: block; width: 100%; padding: .6rem; font: inherit }
button { padding: .6rem 1.2rem; font: inherit; cursor: pointer }
[role=alert] { border-left: .25rem solid firebrick; padding-left: .75rem }
button, input { border: 1px solid GrayText; border-radius: .375rem }
button { border-color: transparent; background: #1d4ed8; color: white }
.second { border-color: GrayText; background: none; color: inherit }
button:hover { filter: brightness(1.15) }
:focus-visible { outline: .1875rem solid #3b82f6; outline-offset: .125rem }
.code { white-space: nowrap }
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_called_by_its_heading_and_then_by_the_name_of_the_service() {
        let content = PageContent::Message(Message::LoggedOut);
        let page = Page { style_sheet: "/style.css", content };
        let plain = PlainPages::new().render(&page);
        assert!(plain.contains("<title>Signed out</title>") && plain.contains("<main><h1>Signed out</h1>"), "{plain}");
        let named = PlainPages::new().with_name("A <b>").render(&page);
        assert!(named.contains("<title>Signed out – A &lt;b&gt;</title>"), "{named}");
        assert!(named.contains(r#"<main><p class="name">A &lt;b&gt;</p><h1>Signed out</h1>"#), "{named}");
    }
}
