//! The tables. A step is never changed once it was released; what has to change is a further step.

/// For SQLite 3.37 and later.
#[cfg(feature = "sqlite")]
pub(crate) const SQLITE: &[&str] = &[
    "
CREATE TABLE sekisho_account (
    id TEXT NOT NULL PRIMARY KEY,
    username TEXT NOT NULL UNIQUE,
    password TEXT,
    revision INTEGER NOT NULL,
    is_disabled INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE sekisho_totp (
    account_id TEXT NOT NULL REFERENCES sekisho_account (id) ON DELETE CASCADE,
    is_confirmed INTEGER NOT NULL,
    enrolment BLOB NOT NULL,
    sealed BLOB NOT NULL,
    last_counter INTEGER,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (account_id, is_confirmed)
) STRICT;
CREATE TABLE sekisho_recovery_code (
    account_id TEXT NOT NULL REFERENCES sekisho_account (id) ON DELETE CASCADE,
    code BLOB NOT NULL,
    PRIMARY KEY (account_id, code)
) STRICT;
CREATE TABLE sekisho_source (
    account_id TEXT NOT NULL REFERENCES sekisho_account (id) ON DELETE CASCADE,
    source BLOB NOT NULL,
    ends_at INTEGER NOT NULL,
    PRIMARY KEY (account_id, source)
) STRICT;
CREATE TABLE sekisho_counter (
    counter_key BLOB NOT NULL PRIMARY KEY,
    failures INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    forgotten_at INTEGER NOT NULL
) STRICT;
CREATE INDEX sekisho_counter_forgotten_at ON sekisho_counter (forgotten_at);
CREATE TABLE sekisho_passkey (
    credential_id BLOB NOT NULL PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES sekisho_account (id) ON DELETE CASCADE,
    public_key BLOB NOT NULL,
    sign_count INTEGER NOT NULL,
    aaguid BLOB NOT NULL,
    transports TEXT NOT NULL,
    is_user_verified INTEGER NOT NULL,
    is_backup_eligible INTEGER NOT NULL,
    is_backed_up INTEGER NOT NULL,
    label TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_used_at INTEGER
) STRICT;
CREATE INDEX sekisho_passkey_account_id ON sekisho_passkey (account_id);
",
    "
CREATE TABLE sekisho_challenge (
    challenge BLOB NOT NULL PRIMARY KEY,
    ends_at INTEGER NOT NULL
) STRICT;
CREATE INDEX sekisho_challenge_ends_at ON sekisho_challenge (ends_at);
",
    "
ALTER TABLE sekisho_account ADD COLUMN logins_ended_at INTEGER;
",
    "
ALTER TABLE sekisho_challenge ADD COLUMN account_id TEXT;
CREATE INDEX sekisho_challenge_account_id ON sekisho_challenge (account_id);
",
];

/// For PostgreSQL 12 and later.
#[cfg(feature = "postgres")]
pub(crate) const POSTGRES: &[&str] = &[
    "
CREATE TABLE sekisho_account (
    id TEXT NOT NULL PRIMARY KEY,
    username TEXT COLLATE \"C\" NOT NULL UNIQUE,
    password TEXT,
    revision BIGINT NOT NULL,
    is_disabled BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE TABLE sekisho_totp (
    account_id TEXT NOT NULL REFERENCES sekisho_account (id) ON DELETE CASCADE,
    is_confirmed BOOLEAN NOT NULL,
    enrolment BYTEA NOT NULL,
    sealed BYTEA NOT NULL,
    last_counter BIGINT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, is_confirmed)
);
CREATE TABLE sekisho_recovery_code (
    account_id TEXT NOT NULL REFERENCES sekisho_account (id) ON DELETE CASCADE,
    code BYTEA NOT NULL,
    PRIMARY KEY (account_id, code)
);
CREATE TABLE sekisho_source (
    account_id TEXT NOT NULL REFERENCES sekisho_account (id) ON DELETE CASCADE,
    source BYTEA NOT NULL,
    ends_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, source)
);
CREATE TABLE sekisho_counter (
    counter_key BYTEA NOT NULL PRIMARY KEY,
    failures BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    forgotten_at BIGINT NOT NULL
);
CREATE INDEX sekisho_counter_forgotten_at ON sekisho_counter (forgotten_at);
CREATE TABLE sekisho_passkey (
    credential_id BYTEA NOT NULL PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES sekisho_account (id) ON DELETE CASCADE,
    public_key BYTEA NOT NULL,
    sign_count BIGINT NOT NULL,
    aaguid BYTEA NOT NULL,
    transports TEXT NOT NULL,
    is_user_verified BOOLEAN NOT NULL,
    is_backup_eligible BOOLEAN NOT NULL,
    is_backed_up BOOLEAN NOT NULL,
    label TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT
);
CREATE INDEX sekisho_passkey_account_id ON sekisho_passkey (account_id);
",
    "
CREATE TABLE sekisho_challenge (
    challenge BYTEA NOT NULL PRIMARY KEY,
    ends_at BIGINT NOT NULL
);
CREATE INDEX sekisho_challenge_ends_at ON sekisho_challenge (ends_at);
",
    "
ALTER TABLE sekisho_account ADD COLUMN logins_ended_at BIGINT;
",
    "
ALTER TABLE sekisho_challenge ADD COLUMN account_id TEXT;
CREATE INDEX sekisho_challenge_account_id ON sekisho_challenge (account_id);
",
];
