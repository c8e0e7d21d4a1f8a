CREATE TABLE sekisho_opaque_reference (
    digest BYTEA NOT NULL PRIMARY KEY,
    subject BYTEA NOT NULL,
    session BYTEA,
    expires_at BIGINT NOT NULL,
    record BYTEA NOT NULL
);
CREATE INDEX sekisho_opaque_reference_subject ON sekisho_opaque_reference (subject, expires_at);
CREATE INDEX sekisho_opaque_reference_session ON sekisho_opaque_reference (session);
CREATE INDEX sekisho_opaque_reference_expires_at ON sekisho_opaque_reference (expires_at);
