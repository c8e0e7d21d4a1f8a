use std::fmt;

mod plain;
#[cfg(feature = "credentials")]
pub(crate) mod qr;

pub use plain::PlainPages;

/// Writes the HTML of the pages that users see.
///
/// Implement it to give them your own look; [`PlainPages`] takes a style sheet, which is enough for most.
///
/// Contract for implementers: the pages are served with a policy that allows no frames, styles and images from the issuer only, and no
/// scripts but, where there is a [`PasskeyForm`], the one of that.
/// Every text that is not your own goes through [`escape`]; each form posts to [`PageForm::action`] and contains [`PageForm::hidden`] as it stands.
pub trait Pages: Send + Sync + fmt::Debug {
    /// Writes a page.
    fn render(&self, page: &Page<'_>) -> String;

    /// Returns the style sheet, which pages find at [`Page::style_sheet`].
    fn style_sheet(&self) -> &str;
}

/// Is a page and what is in it. No text here is escaped, except [`PageForm::hidden`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page<'a> {
    /// The address of the style sheet.
    pub style_sheet: &'a str,
    /// What the page is for.
    pub content: PageContent<'a>,
}

/// Says what a page is for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PageContent<'a> {
    /// Asks for user name (`username`) and password (`password`).
    #[non_exhaustive]
    Login {
        /// The form.
        form: PageForm<'a>,
        /// The name of the client that waits, if one does.
        client: Option<&'a str>,
        /// What to write into the field of the user name.
        username: &'a str,
        /// Whether to ask if the device is the user's own (`own_device` is `yes` then, or left out), and whether that is likely.
        own_device: Option<bool>,
        /// A form beside it that a passkey answers, if there are passkeys. Then the field of the user name has
        /// `autocomplete="username webauthn"`.
        passkey: Option<PasskeyForm<'a>>,
        /// What went wrong.
        problem: Option<Problem>,
    },
    /// Asks for the second factor (`code`).
    #[non_exhaustive]
    SecondFactor {
        /// The form.
        form: PageForm<'a>,
        /// What went wrong.
        problem: Option<Problem>,
    },
    /// Asks whether a client may have what it asks for: `decision` is `allow` or `deny`.
    #[non_exhaustive]
    Consent {
        /// The form.
        form: PageForm<'a>,
        /// The name of the client.
        client: &'a str,
        /// The scopes that it asks for.
        scopes: Vec<&'a str>,
        /// The code that a device shows, when it is one that asks; the user compares it.
        user_code: Option<&'a str>,
    },
    /// Asks for the code that a device shows (`user_code`).
    #[non_exhaustive]
    Device {
        /// The form.
        form: PageForm<'a>,
        /// What to write into the field of the code: what the user followed a link with. It may be wrong.
        user_code: &'a str,
        /// What went wrong.
        problem: Option<Problem>,
    },
    /// Asks whether to log out: `decision` is `allow` or `deny`.
    #[non_exhaustive]
    Logout {
        /// The form.
        form: PageForm<'a>,
        /// The name of the client that asks for it, if one does.
        client: Option<&'a str>,
    },
    /// Shows a user what they can change.
    #[non_exhaustive]
    Account {
        /// The name of the user.
        username: &'a str,
        /// Where the password is changed.
        password: &'a str,
        /// Where an authenticator app is added.
        app: &'a str,
        /// Where recovery codes are drawn; `None` without an app, which they would stand in for.
        recovery_codes: Option<&'a str>,
        /// Whether the user has an app.
        has_app: bool,
        /// How many recovery codes are left.
        recovery_codes_left: u32,
        /// Where passkeys are listed; `None` when there are none here.
        passkeys: Option<&'a str>,
    },
    /// Lists the user's passkeys. Each is removed by the form with `passkey` as its [`id`](ShownPasskey::id), after the password is asked.
    #[non_exhaustive]
    Passkeys {
        /// The passkeys, the oldest first.
        passkeys: Vec<ShownPasskey<'a>>,
        /// The form.
        form: PageForm<'a>,
        /// Where one is added.
        add: &'a str,
    },
    /// Asks for a name (`label`) of a new passkey, and for the passkey.
    #[non_exhaustive]
    AddPasskey {
        /// The form, which a passkey answers.
        form: PasskeyForm<'a>,
    },
    /// Asks for the present password (`password`) and twice for the new one (`new_password`, `repeated_password`).
    #[non_exhaustive]
    ChangePassword {
        /// The form.
        form: PageForm<'a>,
        /// The name of the user, for password managers.
        username: &'a str,
        /// Whether a code is asked too (`code`).
        asks_code: bool,
        /// What went wrong.
        problem: Option<Problem>,
    },
    /// Says that the password is changed, and that all logins have ended.
    #[non_exhaustive]
    PasswordChanged {
        /// Where the user looks whether all passkeys are theirs, for those stay; `None` when they have none.
        passkeys: Option<&'a str>,
    },
    /// Asks somebody who is logged in to prove again who they are: for the password (`password`), and for a code (`code`).
    #[non_exhaustive]
    ProveAgain {
        /// The form.
        form: PageForm<'a>,
        /// The name of the user, for password managers.
        username: &'a str,
        /// What it is for.
        purpose: ProofPurpose,
        /// Whether to ask for a code too.
        asks_code: bool,
        /// What went wrong.
        problem: Option<Problem>,
    },
    /// Shows the secret of a new app, and asks for its first code (`code`).
    #[non_exhaustive]
    ConfirmApp {
        /// The form.
        form: PageForm<'a>,
        /// What the app is to know. It is shown once: `None` when the first code was wrong.
        app: Option<NewApp<'a>>,
        /// What went wrong.
        problem: Option<Problem>,
    },
    /// Shows new recovery codes, once. Those from before are worth nothing.
    #[non_exhaustive]
    RecoveryCodes {
        /// The codes.
        codes: ShownCodes<'a>,
        /// Where to go on.
        account: &'a str,
    },
    /// Says something, and asks nothing.
    Message(Message),
}

/// Is a form that a passkey answers, by a script.
///
/// Write it as a `form` element with the attribute `data-passkey`, which is `get` on the login page and `create` where a passkey is added,
/// and `data-options` with the [`options`](Self::options); in it a button of type `submit` that is `hidden`, which the script shows where
/// it can do its work, and at will an element with `data-failed` that is `hidden`, which the script shows when nothing came of it. The page
/// loads the script with `defer`. Without the script the page is as it would be without the form. `Debug` shows the addresses only.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct PasskeyForm<'a> {
    /// Where it goes, and what it brings along.
    pub form: PageForm<'a>,
    /// What the script asks the browser for, as JSON.
    pub options: &'a str,
    /// The address of the script.
    pub script: &'a str,
}

impl fmt::Debug for PasskeyForm<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasskeyForm").field("form", &self.form).field("script", &self.script).finish_non_exhaustive()
    }
}

/// Is a passkey as its owner sees it. `Debug` shows neither id nor name.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct ShownPasskey<'a> {
    /// What tells it apart.
    pub id: &'a str,
    /// What its owner calls it.
    pub label: &'a str,
    /// Whether it may be on several devices.
    pub is_synced: bool,
}

impl fmt::Debug for ShownPasskey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShownPasskey").field("is_synced", &self.is_synced).finish_non_exhaustive()
    }
}

impl<'a> PageContent<'a> {
    /// Returns the address of the script that the page needs.
    pub(crate) const fn script(&self) -> Option<&'a str> {
        match self {
            Self::Login { passkey: Some(form), .. } | Self::AddPasskey { form } => Some(form.script),
            _ => None,
        }
    }
}

/// Is what an authenticator app has to know. `Debug` shows nothing of it.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct NewApp<'a> {
    /// The secret in base32, to be typed.
    pub secret: &'a str,
    /// The same as an `otpauth:` URI, with the names of service and user.
    pub uri: &'a str,
    /// The URI as a QR code: an `svg` element. Put it into the page as it stands.
    pub qr_code: &'a str,
}

impl fmt::Debug for NewApp<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewApp(..)")
    }
}

/// Is recovery codes as they are shown. `Debug` shows how many.
#[derive(Clone)]
pub struct ShownCodes<'a>(Vec<&'a str>);

impl<'a> ShownCodes<'a> {
    #[cfg(any(test, feature = "credentials"))]
    pub(crate) const fn new(codes: Vec<&'a str>) -> Self {
        Self(codes)
    }

    /// Lists them.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().copied()
    }
}

impl fmt::Debug for ShownCodes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShownCodes({})", self.0.len())
    }
}

/// Says for what a user proves again who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProofPurpose {
    /// To add an authenticator app, in the place of one that they have.
    AddApp,
    /// To get new recovery codes.
    RecoveryCodes,
    /// To add a passkey.
    AddPasskey,
    /// To remove a passkey.
    RemovePasskey,
}

/// Is a form. `Debug` shows where it posts to, and nothing of what lets it in.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct PageForm<'a> {
    /// Where it posts to.
    pub action: &'a str,
    /// Fields without which it is refused, as HTML. Put it into the form as it stands.
    pub hidden: &'a str,
}

impl fmt::Debug for PageForm<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageForm").field("action", &self.action).finish_non_exhaustive()
    }
}

/// Says what went wrong with what was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// Not the right name, password or code.
    Wrong,
    /// Too many attempts. How many seconds to wait.
    TryLater(u64),
    /// The page was open for too long, or came from elsewhere.
    Outdated,
    /// The new password is too short.
    TooShort,
    /// The new password is too long.
    TooLong,
    /// The new password is too easy to guess.
    TooCommon,
    /// The new password was not repeated.
    NotRepeated,
    /// The passkey was not accepted.
    Passkey,
}

/// Says something to a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// The request of the client cannot be answered; there is nobody whom it would be safe to tell but the user. Why.
    BadRequest(&'static str),
    /// Something is broken on our side.
    Unavailable,
    /// The device may go on.
    DeviceAllowed,
    /// The device may not go on.
    DeviceDenied,
    /// Logged out.
    LoggedOut,
    /// Still logged in, as wished.
    StillLoggedIn,
    /// The app is asked for from now on.
    AppAdded,
    /// The user has a passkey, and has to log in by it (or by the password and a code) before they do this.
    PasskeyNeeded,
    /// The passkey was not added.
    PasskeyNotAdded,
    /// The user has no such passkey; nothing has changed.
    NoSuchPasskey,
    /// The passkey is removed, and all logins have ended.
    PasskeyRemoved,
}

/// Makes a text safe to stand in HTML, between tags and in quoted attributes.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Could turn the reading direction of what stands around it.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => safe.push('\u{fffd}'),
            character => safe.push(character),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_pages_about_passkeys_shows_no_options_no_id_and_no_label() {
        let form = PageForm { action: "/created", hidden: "hunter2" };
        let asked = PasskeyForm { form, options: r#"{"challenge":"hunter2"}"#, script: "/passkey.js" };
        let shown = ShownPasskey { id: "hunter2", label: "hunter2", is_synced: true };
        let pages = [
            PageContent::AddPasskey { form: asked },
            PageContent::Passkeys { passkeys: vec![shown], form, add: "/new" },
        ];
        let text = format!("{asked:?} {shown:?} {pages:?}");
        assert!(!text.contains("hunter2") && text.contains("/passkey.js"), "{text}");
    }

    #[test]
    fn nothing_escapes_from_a_text() {
        assert_eq!(escape("<a href=\"x\" onclick='y'>&"), "&lt;a href=&quot;x&quot; onclick=&#39;y&#39;&gt;&amp;");
        assert_eq!(escape("a\u{202e}b"), "a\u{fffd}b");
        assert_eq!(escape("ü"), "ü");
    }
}
