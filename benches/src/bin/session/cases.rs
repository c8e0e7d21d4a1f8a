//! The cases, by name. Each serves `/login`, which logs a new user in, and `/orders`, which is measured; both answer `ok`.

/// Is one service to be measured.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) needs: Needs,
    pub(crate) is_actix: bool,
}

/// Says what a store needs beside itself.
#[derive(Clone, Copy)]
pub(crate) enum Needs {
    Nothing,
    Redis,
    File,
    Postgres,
}

pub(crate) const BARE_AXUM: &str = "bare axum";
pub(crate) const BARE_ACTIX: &str = "bare actix-web";

/// Names the cases; the first is the baseline. What `/orders` does stands last: nothing with the session, read it, read it and
/// extend its idle time, change it, log somebody else in.
pub(crate) const CASES: &[Case] = &[
    axum(BARE_AXUM, Needs::Nothing),
    axum("sekisho, memory: untouched", Needs::Nothing),
    axum("sekisho, memory: read", Needs::Nothing),
    axum("sekisho, memory: read and touch", Needs::Nothing),
    axum("sekisho, memory: principal", Needs::Nothing),
    axum("sekisho, memory: change", Needs::Nothing),
    axum("sekisho, memory: log in", Needs::Nothing),
    axum("tower-sessions 0.15, memory: untouched", Needs::Nothing),
    axum("tower-sessions 0.15, memory: read", Needs::Nothing),
    axum("tower-sessions 0.15, memory: change", Needs::Nothing),
    axum("tower-sessions 0.15, memory: log in", Needs::Nothing),
    axum("tower-sessions 0.14, moka: read", Needs::Nothing),
    axum("tower-sessions 0.14, moka: change", Needs::Nothing),
    axum("sekisho, Redis: read", Needs::Redis),
    axum("sekisho, Redis: read and touch", Needs::Redis),
    axum("sekisho, Redis: change", Needs::Redis),
    axum("sekisho, Redis: log in", Needs::Redis),
    axum("sekisho, near cache over Redis: read", Needs::Redis),
    axum("sekisho, near cache over Redis: change", Needs::Redis),
    axum("tower-sessions 0.14, Redis: read", Needs::Redis),
    axum("tower-sessions 0.14, Redis: change", Needs::Redis),
    axum("tower-sessions 0.14, moka over Redis: read", Needs::Redis),
    axum("tower-sessions 0.14, moka over Redis: change", Needs::Redis),
    axum("sekisho, SQLite: read", Needs::File),
    axum("sekisho, SQLite: read and touch", Needs::File),
    axum("sekisho, SQLite: change", Needs::File),
    axum("sekisho, SQLite: log in", Needs::File),
    axum("sekisho, PostgreSQL: read", Needs::Postgres),
    axum("sekisho, PostgreSQL: read and touch", Needs::Postgres),
    axum("sekisho, PostgreSQL: change", Needs::Postgres),
    axum("sekisho, PostgreSQL: log in", Needs::Postgres),
    axum("sekisho, in the cookie: read", Needs::Nothing),
    axum("huskarl-login, in the cookie: read", Needs::Nothing),
    actix(BARE_ACTIX, Needs::Nothing),
    actix("sekisho-actix, memory: read", Needs::Nothing),
    actix("sekisho-actix, Redis: read", Needs::Redis),
    actix("actix-session, in the cookie: read", Needs::Nothing),
    actix("actix-session, Redis: read", Needs::Redis),
];

const fn axum(name: &'static str, needs: Needs) -> Case {
    Case { name, needs, is_actix: false }
}

const fn actix(name: &'static str, needs: Needs) -> Case {
    Case { name, needs, is_actix: true }
}
