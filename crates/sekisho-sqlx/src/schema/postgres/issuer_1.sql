CREATE TABLE sekisho_issuer_grant (
    id TEXT NOT NULL PRIMARY KEY,
    subject BYTEA NOT NULL,
    sid BYTEA,
    expires_at BIGINT NOT NULL,
    record BYTEA NOT NULL
);
CREATE INDEX sekisho_issuer_grant_subject ON sekisho_issuer_grant (subject);
CREATE INDEX sekisho_issuer_grant_sid ON sekisho_issuer_grant (sid);
CREATE INDEX sekisho_issuer_grant_expires_at ON sekisho_issuer_grant (expires_at);
CREATE TABLE sekisho_issuer_code (
    code BYTEA NOT NULL PRIMARY KEY,
    grant_id TEXT NOT NULL,
    is_taken BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    remembered_until BIGINT NOT NULL,
    record BYTEA NOT NULL
);
CREATE INDEX sekisho_issuer_code_remembered_until ON sekisho_issuer_code (remembered_until);
CREATE TABLE sekisho_issuer_refresh (
    family BYTEA NOT NULL PRIMARY KEY,
    current BYTEA NOT NULL,
    grant_id TEXT NOT NULL,
    idle_until BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    record BYTEA NOT NULL
);
CREATE INDEX sekisho_issuer_refresh_idle_until ON sekisho_issuer_refresh (idle_until);
CREATE TABLE sekisho_issuer_reference (
    token BYTEA NOT NULL PRIMARY KEY,
    grant_id TEXT,
    expires_at BIGINT NOT NULL,
    record BYTEA NOT NULL
);
CREATE INDEX sekisho_issuer_reference_expires_at ON sekisho_issuer_reference (expires_at);
CREATE TABLE sekisho_issuer_withdrawn (
    subject BYTEA NOT NULL PRIMARY KEY,
    up_to BIGINT NOT NULL,
    ends_at BIGINT NOT NULL
);
CREATE INDEX sekisho_issuer_withdrawn_ends_at ON sekisho_issuer_withdrawn (ends_at);
CREATE TABLE sekisho_issuer_session (
    session BYTEA NOT NULL PRIMARY KEY,
    subject BYTEA NOT NULL,
    idle_until BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    record BYTEA NOT NULL
);
CREATE INDEX sekisho_issuer_session_subject ON sekisho_issuer_session (subject);
CREATE INDEX sekisho_issuer_session_idle_until ON sekisho_issuer_session (idle_until);
CREATE TABLE sekisho_issuer_consent (
    subject BYTEA NOT NULL,
    client BYTEA NOT NULL,
    record BYTEA NOT NULL,
    PRIMARY KEY (subject, client)
);
CREATE TABLE sekisho_issuer_device (
    device BYTEA NOT NULL PRIMARY KEY,
    user_code BYTEA UNIQUE,
    state BIGINT NOT NULL,
    grant_id TEXT,
    wait_seconds BIGINT NOT NULL,
    asked_at BIGINT,
    expires_at BIGINT NOT NULL,
    remembered_until BIGINT NOT NULL,
    record BYTEA NOT NULL
);
CREATE INDEX sekisho_issuer_device_remembered_until ON sekisho_issuer_device (remembered_until);
CREATE TABLE sekisho_issuer_count (
    counted BYTEA NOT NULL PRIMARY KEY,
    times BIGINT NOT NULL,
    ends_at BIGINT NOT NULL
);
CREATE INDEX sekisho_issuer_count_ends_at ON sekisho_issuer_count (ends_at);
CREATE TABLE sekisho_issuer_keys (
    id BIGINT NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL,
    sealed BYTEA NOT NULL
);
