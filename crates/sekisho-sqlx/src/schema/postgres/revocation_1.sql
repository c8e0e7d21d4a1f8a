CREATE TABLE sekisho_revocation_log (
    id BIGINT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    last_place BIGINT NOT NULL
);
CREATE TABLE sekisho_revocation (
    place BIGINT NOT NULL PRIMARY KEY,
    ends_at BIGINT NOT NULL,
    withdrawal BYTEA NOT NULL
);
CREATE INDEX sekisho_revocation_ends_at ON sekisho_revocation (ends_at);
