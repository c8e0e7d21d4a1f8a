//! What attackers send.
