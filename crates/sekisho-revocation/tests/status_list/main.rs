//! Status lists: what is fetched, what is believed, and what is answered when there is nothing to believe.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod answers;
mod loading;
mod support;
