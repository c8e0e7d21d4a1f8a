CREATE TABLE sekisho_revocation_log (
    id INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    last_place INTEGER NOT NULL
) STRICT;
CREATE TABLE sekisho_revocation (
    place INTEGER NOT NULL PRIMARY KEY,
    ends_at INTEGER NOT NULL,
    withdrawal BLOB NOT NULL
) STRICT;
CREATE INDEX sekisho_revocation_ends_at ON sekisho_revocation (ends_at);
