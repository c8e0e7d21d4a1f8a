use redis::Cmd;

/// Is a Lua script. All its keys are in one slot, or a cluster refuses it.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    pub(crate) fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }

    /// Begins a call with its first key, by whose slot it is sent.
    pub(crate) fn on(&self, key: impl Into<Vec<u8>>) -> Call<'_> {
        Call { script: self, keys: vec![key.into()], arguments: Vec::new() }
    }
}

/// Is a script with what it is called with.
pub(crate) struct Call<'s> {
    script: &'s Script,
    keys: Vec<Vec<u8>>,
    arguments: Vec<Vec<u8>>,
}

impl Call<'_> {
    /// Adds a key of the same slot.
    pub(crate) fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.keys.push(key.into());
        self
    }

    pub(crate) fn arg(mut self, argument: impl Into<Vec<u8>>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub(crate) fn number(self, number: u64) -> Self {
        self.arg(number.to_string())
    }

    pub(crate) fn first_key(&self) -> &[u8] {
        self.keys.first().map(Vec::as_slice).unwrap_or_default()
    }

    /// Names the script, which Redis may not have.
    pub(crate) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", self.script.hash.as_bytes())
    }

    /// Brings the script along; Redis keeps it from then on.
    pub(crate) fn by_text(&self) -> Cmd {
        self.command("EVAL", self.script.text.as_bytes())
    }

    fn command(&self, name: &str, script: &[u8]) -> Cmd {
        debug_assert!(
            self.keys.iter().all(|key| crate::slots::slot(key) == crate::slots::slot(self.first_key())),
            "all keys of a script are in one slot"
        );
        let length: usize = self.keys.iter().chain(&self.arguments).map(Vec::len).sum();
        // And the name and the number of keys.
        let mut command = Cmd::with_capacity(self.keys.len() + self.arguments.len() + 3, script.len() + length + 16);
        command.arg(name).arg(script).arg(self.keys.len());
        for part in self.keys.iter().chain(&self.arguments) {
            command.arg(part.as_slice());
        }
        command
    }
}
