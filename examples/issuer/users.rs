use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sekisho::credentials::{Credentials, SealingKey, SealingKeys, SqliteStore, TotpSecret, Username};
use sekisho::issuer::{Accounts, AuthorizationServer, CredentialLogin, IssueRequest};
use sekisho::{Clock, Secret, SystemClock};

/// The password of the one user, in the open because it is an example.
pub(crate) const PASSWORD: &str = "open sesame, please";

/// Opens the credential database: a SQLite file.
///
/// A real service reads the keys, under which second factors and signing keys are encrypted, from its configuration. Here they lie beside the
/// files.
pub(crate) async fn open(folder: &Path) -> Result<CredentialLogin, Box<dyn Error>> {
    let key_file = folder.join("sealing.key");
    let key = match key_of(&key_file)? {
        Some(text) => SealingKey::from_text(&text)?,
        None => {
            let key = SealingKey::generate()?;
            write_private(&key_file, key.to_text().expose())?;
            key
        }
    };
    let store = SqliteStore::open(folder.join("credentials.db")).await?;
    let credentials = Credentials::builder(Arc::new(store), SealingKeys::new(key)).build()?;
    Ok(CredentialLogin::new(credentials)
        .with_contexts("urn:example:password", "urn:example:two-factors")
        .with_service_name("The example issuer"))
}

/// Reads a key, if there is one.
pub(crate) fn key_of(path: &Path) -> std::io::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a new file that only its owner can read, where there are owners.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(content)
}

/// Makes alice with an authenticator app. Returns her app, which a real service only shows once, on `/account`.
pub(crate) async fn make_alice(login: &CredentialLogin) -> Result<TotpSecret, Box<dyn Error>> {
    let (credentials, now) = (login.credentials(), SystemClock.now());
    let name = Username::parse("alice")?;
    let alice = credentials.sign_up(&name, &Secret::from(PASSWORD), now).await?;
    let app = credentials.begin_totp(&alice, now).await?.ok_or("no account")?;
    // The code before this one, so that the present one is still good for the walk.
    let before = now.as_secs().saturating_sub(30);
    let code = app.code(sekisho::UnixSeconds::new(before));
    if !credentials.confirm_totp(&alice, &code, now).await? {
        return Err("the app was not confirmed".into());
    }
    Ok(app)
}

/// Says what an operator wants done.
#[derive(clap::Subcommand)]
pub(crate) enum Administration {
    /// Makes an account; its password is read from the environment variable `NEW_PASSWORD`.
    Create { username: String },
    /// Disables an account.
    Disable { username: String },
    /// Enables an account again.
    Enable { username: String },
    /// Removes app and recovery codes of somebody who has lost them.
    ResetSecondFactor { username: String },
    /// Issues an access token of the shop by hand, for a gateway that puts it in the place of what came in; wants `--port`, of which its `iss` is.
    Issue {
        username: String,
        /// The resource server that it is for.
        #[arg(long, default_value = "orders-api")]
        audience: String,
        #[arg(long, default_value = "orders:read")]
        scope: String,
        /// For how many seconds it lives, up to a day.
        #[arg(long, default_value_t = 300)]
        lifetime: u64,
    },
}

impl Administration {
    /// Does it, and says what was done.
    ///
    /// `server` ends logins and tokens too, for the store is that of a service that may run beside.
    pub(crate) async fn run(
        &self,
        login: &CredentialLogin,
        server: &AuthorizationServer,
    ) -> Result<String, Box<dyn Error>> {
        let accounts = Accounts::new(server.clone(), login.credentials().clone());
        let now = SystemClock.now();
        let find = async |username: &str| {
            let found = login.credentials().find(&Username::parse(username)?).await?;
            found.ok_or_else(|| Box::<dyn Error>::from("there is no such account"))
        };
        Ok(match self {
            Self::Create { username } => {
                let password = Secret::from(std::env::var("NEW_PASSWORD")?);
                let made = accounts.create(&Username::parse(username)?, &password, now).await;
                let id = made.map_err(|error| error.to_string())?;
                format!("made: the subject of its tokens is {id}")
            }
            Self::Disable { username } => {
                accounts.set_disabled(&find(username).await?, true, now).await?;
                "disabled".to_owned()
            }
            Self::Enable { username } => {
                accounts.set_disabled(&find(username).await?, false, now).await?;
                "enabled".to_owned()
            }
            Self::ResetSecondFactor { username } => {
                accounts.remove_second_factors(&find(username).await?, now).await?;
                "removed: the password alone opens it".to_owned()
            }
            Self::Issue { username, audience, scope, lifetime } => {
                let subject = find(username).await?;
                let request = IssueRequest::new("shop", subject.as_str()).with_audience(audience).with_scopes(scope)?;
                let issued = server.issue(request.with_lifetime(Duration::from_secs(*lifetime)), now).await?;
                issued.token.expose_str().unwrap_or_default().to_owned()
            }
        })
    }
}
