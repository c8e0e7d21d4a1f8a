use sekisho_core::Principal;

/// Says who logs in, and with what.
#[derive(Clone, Debug)]
#[must_use]
pub struct Login {
    pub(super) principal: Principal,
    pub(super) device: Option<Box<str>>,
    pub(super) keeps_data: bool,
    pub(super) remembering: Remembering,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Remembering {
    No,
    Yes,
    /// By a token of the remembered login of this public id.
    Again {
        handle: Box<str>,
    },
}

impl Login {
    /// Takes a principal that was proved in this very request: by an identity provider's answer, by a password.
    pub fn new(principal: &Principal) -> Self {
        Self { principal: principal.clone(), device: None, keeps_data: true, remembering: Remembering::No }
    }

    /// Says by what the user will know the session in a list, such as the `User-Agent`. At most 200 characters are kept, and
    /// no control characters. Default: nothing.
    pub fn with_device(mut self, device: &str) -> Self {
        let clean: String = device.chars().filter(|c| !c.is_control()).take(MAX_DEVICE).collect();
        self.device = (!clean.is_empty()).then(|| clean.into());
        self
    }

    /// Drops what was kept before the login. Default: data of the anonymous session, or of the same subject's, stay; those of
    /// another subject never do.
    pub fn without_earlier_data(mut self) -> Self {
        self.keeps_data = false;
        self
    }

    /// Remembers the login in this browser beyond the session, by a token of its own. Only where
    /// [`SessionsBuilder::with_remembered_logins`](crate::SessionsBuilder::with_remembered_logins) says how. Default: no.
    pub fn with_remembering(mut self) -> Self {
        self.remembering = Remembering::Yes;
        self
    }
}

const MAX_DEVICE: usize = 200;
