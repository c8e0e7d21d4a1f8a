use super::{Message, Page, PageContent, PageForm, Pages, PasskeyForm, Problem, ProofPurpose, ShownPasskey, escape};

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
            PageContent::Login { form, client, username, own_device, passkey, problem } => {
                let goes_to = client
                    .map_or(String::new(), |client| format!("<p>to go on to <strong>{}</strong></p>", escape(client)));
                let username = escape(username);
                let own_device =
                    own_device.map_or("", |is_likely| if is_likely { OWN_DEVICE_TICKED } else { OWN_DEVICE });
                let autofill = if passkey.is_some() { "username webauthn" } else { "username" };
                let passkey = passkey.map_or(String::new(), |form| {
                    passkey_form(&form, "get", r#"<button class="second" hidden>Sign in with a passkey</button>"#)
                });
                let fields = format!(
                    r#"<label>User name<input name="username" value="{username}" autocomplete="{autofill}" autocapitalize="none" spellcheck="false" maxlength="256" required autofocus></label>
<label>Password<input name="password" type="password" autocomplete="current-password" maxlength="1024" required></label>
{own_device}<button>Sign in</button>"#
                );
                format!("<h1>Sign in</h1>{goes_to}{}{}{passkey}", told(*problem), write_form(form, &fields))
            }
            PageContent::SecondFactor { form, problem } => {
                let fields = format!("{CODE_FIELD_FIRST}<button>Continue</button>");
                format!("<h1>Second step</h1>{}{}", told(*problem), write_form(form, &fields))
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
            PageContent::Account { .. }
            | PageContent::ChangePassword { .. }
            | PageContent::PasswordChanged { .. }
            | PageContent::ProveAgain { .. }
            | PageContent::ConfirmApp { .. }
            | PageContent::RecoveryCodes { .. }
            | PageContent::Passkeys { .. }
            | PageContent::AddPasskey { .. } => account_page(&page.content),
            PageContent::Message(message) => say(*message),
        };
        // Each page begins with its heading.
        let heading = main.strip_prefix("<h1>").and_then(|rest| rest.split_once("</h1>")).map_or("", |(text, _)| text);
        let (title, name) = match name {
            Some(name) => (format!("{heading} – {name}"), format!(r#"<p class="name">{name}</p>"#)),
            None => (heading.to_owned(), String::new()),
        };
        let script = page
            .content
            .script()
            .map_or(String::new(), |script| format!(r#"<script src="{}" defer></script>"#, escape(script)));
        format!(
            r#"<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title><link rel="stylesheet" href="{style}">{script}</head>
<body><main>{name}{main}</main></body></html>
"#
        )
    }

    fn style_sheet(&self) -> &str {
        &self.style_sheet
    }
}

/// Writes the pages about one's own account.
fn account_page(content: &PageContent<'_>) -> String {
    match content {
        PageContent::Account { username, password, app, recovery_codes, has_app, recovery_codes_left, passkeys } => {
            let add = if *has_app { "Set up another authenticator app" } else { "Set up an authenticator app" };
            let codes = recovery_codes.map_or(String::new(), |link| {
                let link = escape(link);
                format!(r#"<li><a href="{link}">Get new recovery codes</a> ({recovery_codes_left} are left)</li>"#)
            });
            let passkeys = passkeys
                .map_or(String::new(), |link| format!(r#"<li><a href="{}">Your passkeys</a></li>"#, escape(link)));
            let (username, password, app) = (escape(username), escape(password), escape(app));
            format!(
                r#"<h1>Your account</h1><p>Signed in as <strong>{username}</strong></p><ul><li><a href="{password}">Change the password</a></li><li><a href="{app}">{add}</a></li>{codes}{passkeys}</ul>"#
            )
        }
        PageContent::ChangePassword { form, username, asks_code, problem } => {
            let user = username_field(username);
            let code = if *asks_code { CODE_FIELD } else { "" };
            let fields = format!(
                r#"{user}<label>Present password<input name="password" type="password" autocomplete="current-password" maxlength="1024" required autofocus></label>
{code}<label>New password<input name="new_password" type="password" autocomplete="new-password" maxlength="1024" required></label>
<label>New password again<input name="repeated_password" type="password" autocomplete="new-password" maxlength="1024" required></label>
<p>You will have to sign in again everywhere.</p>
<button>Change</button>"#
            );
            format!("<h1>Change the password</h1>{}{}", told(*problem), write_form(form, &fields))
        }
        PageContent::PasswordChanged { passkeys } => {
            let passkeys = passkeys.map_or(String::new(), |link| {
                let link = escape(link);
                format!(r#"<p>Your passkeys still work. <a href="{link}">See whether all of them are yours</a>.</p>"#)
            });
            format!("<h1>Done</h1><p>Your password is changed. Please sign in again, in a moment.</p>{passkeys}")
        }
        PageContent::ProveAgain { form, username, purpose, asks_code, problem } => {
            let (title, text) = match purpose {
                ProofPurpose::AddApp => ("Set up an authenticator app", "It takes the place of one that you have."),
                ProofPurpose::RecoveryCodes => ("New recovery codes", "Those that you have are worth nothing then."),
                ProofPurpose::AddPasskey => ("Add a passkey", "It signs you in without your password."),
                ProofPurpose::RemovePasskey => ("Remove a passkey", "You will have to sign in again everywhere."),
            };
            let user = username_field(username);
            let code = if *asks_code { CODE_FIELD } else { "" };
            let fields = format!(
                r#"{user}<label>Password<input name="password" type="password" autocomplete="current-password" maxlength="1024" required autofocus></label>
{code}<button>Continue</button>"#
            );
            format!("<h1>{title}</h1><p>{text}</p>{}{}", told(*problem), write_form(form, &fields))
        }
        PageContent::ConfirmApp { form, app, problem } => {
            let shown = app.map_or(String::new(), |app| {
                let (secret, uri) = (escape(app.secret), escape(app.uri));
                format!(
                    r#"<p>Let your app read this, or type the secret into it.</p>{}<p>Secret <code>{secret}</code></p><p><a href="{uri}">Open the app on this device</a></p>"#,
                    app.qr_code
                )
            });
            let fields = format!("{CODE_FIELD_FIRST}<button>Continue</button>");
            format!("<h1>Set up an authenticator app</h1>{}{shown}{}", told(*problem), write_form(form, &fields))
        }
        PageContent::RecoveryCodes { codes, account } => {
            let items: String = codes.iter().map(|code| format!("<li><code>{}</code></li>", escape(code))).collect();
            let account = escape(account);
            format!(
                r#"<h1>Recovery codes</h1><p>Each is good once in the place of your app. Keep them where the app is not: they are not shown again.</p><ul>{items}</ul><p><a href="{account}">Your account</a></p>"#
            )
        }
        PageContent::Passkeys { passkeys, form, add } => {
            let item = |passkey: &ShownPasskey<'_>| {
                let kept = if passkey.is_synced { "on several devices" } else { "on one device" };
                let button =
                    format!(r#"<button name="passkey" value="{}" class="second">Remove</button>"#, escape(passkey.id));
                format!("<li><strong>{}</strong>, {kept} {}</li>", escape(passkey.label), write_form(form, &button))
            };
            let items: String = passkeys.iter().map(item).collect();
            let (list, add) = (
                if items.is_empty() {
                    "<p>You have none.</p>".to_owned()
                } else {
                    format!("<ul>{items}</ul><p>When you remove one you have to sign in again everywhere.</p>")
                },
                escape(add),
            );
            format!(r#"<h1>Your passkeys</h1>{list}<p><a href="{add}">Add a passkey</a></p>"#)
        }
        PageContent::AddPasskey { form } => {
            let fields = r#"<label>What to call it<input name="label" maxlength="64" autocomplete="off" required autofocus></label>
<button hidden>Add a passkey</button>"#;
            let form = passkey_form(form, "create", fields);
            format!(
                "<h1>Add a passkey</h1><noscript><p>This needs scripts, which your browser does not run.</p></noscript>{form}"
            )
        }
        _ => String::new(),
    }
}

/// Writes a form that a passkey answers.
fn passkey_form(form: &PasskeyForm<'_>, kind: &str, fields: &str) -> String {
    let (action, options) = (escape(form.form.action), escape(form.options));
    format!(
        r#"<form method="post" action="{action}" data-passkey="{kind}" data-options="{options}">{}{fields}<p role="alert" data-failed hidden>That did not work. Please try again.</p></form>"#,
        form.form.hidden
    )
}

/// Tells password managers whose password it is.
fn username_field(username: &str) -> String {
    format!(r#"<input class="unseen" value="{}" autocomplete="username" readonly tabindex="-1">"#, escape(username))
}

fn write_form(form: &PageForm<'_>, fields: &str) -> String {
    format!(r#"<form method="post" action="{}">{}{fields}</form>"#, escape(form.action), form.hidden)
}

fn told(problem: Option<Problem>) -> String {
    let Some(problem) = problem else { return String::new() };
    let text = match problem {
        Problem::Wrong => "That is not right. Please try again.",
        Problem::TryLater(seconds) => {
            return format!(r#"<p role="alert">Too many attempts. Please wait {seconds} seconds.</p>"#);
        }
        Problem::Outdated => "This page was open for too long. Please try again.",
        Problem::TooShort => "The new password is too short.",
        Problem::TooLong => "The new password is too long.",
        Problem::TooCommon => "The new password is too easy to guess.",
        Problem::NotRepeated => "The new passwords are not the same.",
        Problem::Passkey => "That passkey was not accepted. Please try again.",
    };
    format!(r#"<p role="alert">{text}</p>"#)
}

fn say(message: Message) -> String {
    let (title, text) = match message {
        Message::BadRequest(reason) => ("This did not work", reason),
        Message::Unavailable => ("This did not work", "Something is broken on our side. Please try again in a moment."),
        Message::DeviceAllowed => ("Done", "Your device is connected. You can close this page."),
        Message::DeviceDenied => ("Done", "Your device was not connected. You can close this page."),
        Message::LoggedOut => ("Signed out", "You are signed out here. You can close this page."),
        Message::StillLoggedIn => ("Still signed in", "Nothing has changed. You can close this page."),
        Message::PasskeyNeeded => {
            ("Sign in with a passkey first", "You have a passkey. Please sign out, sign in with it, and come back.")
        }
        Message::NoSuchPasskey => ("This did not work", "You have no such passkey. Nothing has changed."),
        Message::PasskeyNotAdded => ("This did not work", "The passkey was not added."),
        Message::PasskeyRemoved => ("Done", "The passkey is removed. Please sign in again, in a moment."),
        Message::AppAdded => ("Done", "From now on you are asked for a code of the app when you sign in."),
    };
    format!("<h1>{title}</h1><p>{}</p>", escape(text))
}

const ALLOW_OR_DENY: &str = r#"<button name="decision" value="allow">Allow</button>
<button name="decision" value="deny" class="second">Deny</button>"#;
const SIGN_OUT_OR_STAY: &str = r#"<button name="decision" value="allow">Sign out</button>
<button name="decision" value="deny" class="second">Stay signed in</button>"#;

const CODE_FIELD_FIRST: &str = r#"<label>Code<input name="code" autocomplete="one-time-code" autocapitalize="none" maxlength="64" required autofocus></label>
"#;
const CODE_FIELD: &str = r#"<label>Code<input name="code" autocomplete="one-time-code" autocapitalize="none" maxlength="64" required></label>
"#;
const OWN_DEVICE: &str = r#"<label class="tick"><input type="checkbox" name="own_device" value="yes"> This is my own device</label>
"#;
const OWN_DEVICE_TICKED: &str = r#"<label class="tick"><input type="checkbox" name="own_device" value="yes" checked> This is my own device</label>
"#;

const DEFAULT_STYLE: &str = "\
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { margin: 0; min-height: 100vh; display: grid; place-items: center }
main { box-sizing: border-box; width: min(24rem, 100vw); padding: 2rem }
h1 { font-size: 1.5rem; margin: 0 0 1rem }
.name { margin: 0; opacity: .7 }
label { display: block; margin: 0 0 1rem }
input { box-sizing: border-box; display: block; width: 100%; padding: .6rem; font: inherit }
.unseen { position: absolute; left: -999rem }
svg { display: block; width: 12rem; max-width: 100%; margin: 0 0 1rem }
code { overflow-wrap: anywhere }
.tick input { display: inline; width: auto }
button { padding: .6rem 1.2rem; font: inherit; cursor: pointer }
[role=alert] { border-left: .25rem solid firebrick; padding-left: .75rem }
button, input { border: 1px solid GrayText; border-radius: .375rem }
button { border-color: transparent; background: #1d4ed8; color: white }
form + form { margin-top: 1rem }
li form { display: inline }
.second { border-color: GrayText; background: none; color: inherit }
button:hover { filter: brightness(1.15) }
:focus-visible { outline: .1875rem solid #3b82f6; outline-offset: .125rem }
.code { white-space: nowrap }
";

#[cfg(test)]
mod tests {
    use super::super::{NewApp, ShownCodes};
    use super::*;

    fn render(content: PageContent<'_>) -> String {
        PlainPages::new().render(&Page { style_sheet: "/style.css", content })
    }

    #[test]
    fn nothing_that_is_not_ours_stands_unescaped_in_the_pages_about_an_account() {
        let evil = "\"><script>'&";
        let form = PageForm { action: evil, hidden: "<input type=\"hidden\">" };
        let (username, problem) = (evil, Some(Problem::Wrong));
        let asked = PasskeyForm { form, options: evil, script: evil };
        let passkey = Some(asked);
        let app = Some(NewApp { secret: evil, uri: evil, qr_code: "<svg></svg>" });
        let pages = [
            PageContent::Login { form, client: Some(evil), username, own_device: Some(true), passkey, problem },
            PageContent::Account {
                username,
                password: evil,
                app: evil,
                recovery_codes: Some(evil),
                has_app: true,
                recovery_codes_left: 1,
                passkeys: Some(evil),
            },
            PageContent::Passkeys {
                passkeys: vec![ShownPasskey { id: evil, label: evil, is_synced: true }],
                form,
                add: evil,
            },
            PageContent::AddPasskey { form: asked },
            PageContent::ChangePassword { form, username, asks_code: true, problem },
            PageContent::PasswordChanged { passkeys: Some(evil) },
            PageContent::ProveAgain { form, username, purpose: ProofPurpose::AddApp, asks_code: true, problem },
            PageContent::ConfirmApp { form, app, problem },
            PageContent::RecoveryCodes { codes: ShownCodes::new(vec![evil]), account: evil },
        ];
        for content in pages {
            let shown = format!("{content:?}");
            let page = render(content);
            assert!(
                page.contains("&lt;script&gt;") && !page.contains("<script>") && !page.contains("style="),
                "{shown}"
            );
        }
    }

    #[test]
    fn debug_shows_no_secret_and_no_token_of_a_form() {
        let app = NewApp { secret: "hunter2", uri: "hunter2", qr_code: "hunter2" };
        let form = PageForm { action: "/", hidden: "hunter2" };
        let confirm = PageContent::ConfirmApp { form, app: Some(app), problem: None };
        let codes = PageContent::RecoveryCodes { codes: ShownCodes::new(vec!["hunter2"]), account: "/account" };
        assert!(!format!("{confirm:?} {codes:?}").contains("hunter2"));
    }

    #[test]
    fn every_problem_is_told() {
        let problems = [Problem::Wrong, Problem::Outdated, Problem::TooShort, Problem::TooLong, Problem::TooCommon];
        let more = [Problem::NotRepeated, Problem::Passkey];
        let told: Vec<String> = problems.into_iter().chain(more).map(|it| told(Some(it))).collect();
        let apart: std::collections::BTreeSet<&String> = told.iter().collect();
        assert!(apart.len() == told.len() && told.iter().all(|text| text.contains("role=\"alert\"")));
    }

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
