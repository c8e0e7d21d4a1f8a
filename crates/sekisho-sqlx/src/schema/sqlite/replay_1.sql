CREATE TABLE sekisho_replay (
    holder BLOB NOT NULL,
    use_id BLOB NOT NULL,
    ends_at INTEGER NOT NULL,
    PRIMARY KEY (holder, use_id)
) STRICT;
CREATE INDEX sekisho_replay_ends_at ON sekisho_replay (ends_at);
CREATE TABLE sekisho_replay_swept (
    id INTEGER NOT NULL PRIMARY KEY,
    up_to INTEGER NOT NULL
) STRICT;
