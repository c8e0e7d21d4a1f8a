CREATE TABLE sekisho_opaque_reference (
    digest BLOB NOT NULL PRIMARY KEY,
    subject BLOB NOT NULL,
    session BLOB,
    expires_at INTEGER NOT NULL,
    record BLOB NOT NULL
) STRICT;
CREATE INDEX sekisho_opaque_reference_subject ON sekisho_opaque_reference (subject, expires_at);
CREATE INDEX sekisho_opaque_reference_session ON sekisho_opaque_reference (session);
CREATE INDEX sekisho_opaque_reference_expires_at ON sekisho_opaque_reference (expires_at);
