CREATE TABLE sekisho_session (
    id BYTEA NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,
    idle_until BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    card BYTEA,
    body BYTEA
);
-- What is sealed grows no shorter.
ALTER TABLE sekisho_session ALTER COLUMN card SET STORAGE EXTERNAL;
ALTER TABLE sekisho_session ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE INDEX sekisho_session_idle_until ON sekisho_session (idle_until) WHERE body IS NOT NULL;
CREATE INDEX sekisho_session_expires_at ON sekisho_session (expires_at);
CREATE TABLE sekisho_session_tag (
    tag BYTEA NOT NULL,
    session BYTEA NOT NULL REFERENCES sekisho_session (id) ON DELETE CASCADE,
    PRIMARY KEY (tag, session)
);
CREATE INDEX sekisho_session_tag_session ON sekisho_session_tag (session);
