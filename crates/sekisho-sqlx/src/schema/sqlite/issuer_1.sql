CREATE TABLE sekisho_issuer_grant (
    id TEXT NOT NULL PRIMARY KEY,
    subject BLOB NOT NULL,
    sid BLOB,
    expires_at INTEGER NOT NULL,
    record BLOB NOT NULL
) STRICT;
CREATE INDEX sekisho_issuer_grant_subject ON sekisho_issuer_grant (subject);
CREATE INDEX sekisho_issuer_grant_sid ON sekisho_issuer_grant (sid);
CREATE INDEX sekisho_issuer_grant_expires_at ON sekisho_issuer_grant (expires_at);
CREATE TABLE sekisho_issuer_code (
    code BLOB NOT NULL PRIMARY KEY,
    grant_id TEXT NOT NULL,
    is_taken INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    remembered_until INTEGER NOT NULL,
    record BLOB NOT NULL
) STRICT;
CREATE INDEX sekisho_issuer_code_remembered_until ON sekisho_issuer_code (remembered_until);
CREATE TABLE sekisho_issuer_refresh (
    family BLOB NOT NULL PRIMARY KEY,
    current BLOB NOT NULL,
    grant_id TEXT NOT NULL,
    idle_until INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    record BLOB NOT NULL
) STRICT;
CREATE INDEX sekisho_issuer_refresh_idle_until ON sekisho_issuer_refresh (idle_until);
CREATE TABLE sekisho_issuer_reference (
    token BLOB NOT NULL PRIMARY KEY,
    grant_id TEXT,
    expires_at INTEGER NOT NULL,
    record BLOB NOT NULL
) STRICT;
CREATE INDEX sekisho_issuer_reference_expires_at ON sekisho_issuer_reference (expires_at);
CREATE TABLE sekisho_issuer_withdrawn (
    subject BLOB NOT NULL PRIMARY KEY,
    up_to INTEGER NOT NULL,
    ends_at INTEGER NOT NULL
) STRICT;
CREATE INDEX sekisho_issuer_withdrawn_ends_at ON sekisho_issuer_withdrawn (ends_at);
CREATE TABLE sekisho_issuer_session (
    session BLOB NOT NULL PRIMARY KEY,
    subject BLOB NOT NULL,
    idle_until INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    record BLOB NOT NULL
) STRICT;
CREATE INDEX sekisho_issuer_session_subject ON sekisho_issuer_session (subject);
CREATE INDEX sekisho_issuer_session_idle_until ON sekisho_issuer_session (idle_until);
CREATE TABLE sekisho_issuer_consent (
    subject BLOB NOT NULL,
    client BLOB NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (subject, client)
) STRICT;
CREATE TABLE sekisho_issuer_device (
    device BLOB NOT NULL PRIMARY KEY,
    user_code BLOB UNIQUE,
    state INTEGER NOT NULL,
    grant_id TEXT,
    wait_seconds INTEGER NOT NULL,
    asked_at INTEGER,
    expires_at INTEGER NOT NULL,
    remembered_until INTEGER NOT NULL,
    record BLOB NOT NULL
) STRICT;
CREATE INDEX sekisho_issuer_device_remembered_until ON sekisho_issuer_device (remembered_until);
CREATE TABLE sekisho_issuer_count (
    counted BLOB NOT NULL PRIMARY KEY,
    times INTEGER NOT NULL,
    ends_at INTEGER NOT NULL
) STRICT;
CREATE INDEX sekisho_issuer_count_ends_at ON sekisho_issuer_count (ends_at);
CREATE TABLE sekisho_issuer_keys (
    id INTEGER NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
