CREATE TABLE sekisho_session (
    id BLOB NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    idle_until INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    card BLOB,
    body BLOB
) STRICT;
CREATE INDEX sekisho_session_idle_until ON sekisho_session (idle_until) WHERE body IS NOT NULL;
CREATE INDEX sekisho_session_expires_at ON sekisho_session (expires_at);
CREATE TABLE sekisho_session_tag (
    tag BLOB NOT NULL,
    session BLOB NOT NULL REFERENCES sekisho_session (id) ON DELETE CASCADE,
    PRIMARY KEY (tag, session)
) STRICT, WITHOUT ROWID;
CREATE INDEX sekisho_session_tag_session ON sekisho_session_tag (session);
