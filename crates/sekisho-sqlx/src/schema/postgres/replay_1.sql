CREATE TABLE sekisho_replay (
    holder BYTEA NOT NULL,
    use_id BYTEA NOT NULL,
    ends_at BIGINT NOT NULL,
    PRIMARY KEY (holder, use_id)
);
CREATE INDEX sekisho_replay_ends_at ON sekisho_replay (ends_at);
CREATE TABLE sekisho_replay_swept (
    id BIGINT NOT NULL PRIMARY KEY,
    up_to BIGINT NOT NULL
);
