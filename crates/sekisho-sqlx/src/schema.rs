//! The tables. A step is never changed once it was released; what has to change is a further step.
//!
//! Records are kept as the bytes that their crates write. Beside them stands what is searched for, what changes, and when
//! the row ends; texts that are searched for stand there as digests.

use crate::migrate::Part;

/// Lists the parts, whose files are in a folder of the database's name.
macro_rules! parts {
    ($folder:literal) => {
        &[
            #[cfg(feature = "issuer")]
            Part { name: "issuer", steps: &[include_str!(concat!("schema/", $folder, "/issuer_1.sql"))] },
            #[cfg(feature = "opaque")]
            Part { name: "opaque", steps: &[include_str!(concat!("schema/", $folder, "/opaque_1.sql"))] },
            #[cfg(feature = "revocation")]
            Part { name: "revocation", steps: &[include_str!(concat!("schema/", $folder, "/revocation_1.sql"))] },
            #[cfg(feature = "session")]
            Part { name: "session", steps: &[include_str!(concat!("schema/", $folder, "/session_1.sql"))] },
            Part { name: "replay", steps: &[include_str!(concat!("schema/", $folder, "/replay_1.sql"))] },
        ]
    };
}

/// For SQLite 3.37 and later.
#[cfg(feature = "sqlite")]
pub(crate) const SQLITE: &[Part] = parts!("sqlite");

/// For PostgreSQL 12 and later.
#[cfg(feature = "postgres")]
pub(crate) const POSTGRES: &[Part] = parts!("postgres");
