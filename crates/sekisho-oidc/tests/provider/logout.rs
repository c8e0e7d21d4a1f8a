//! Logging out on both sides.

use sekisho_testkit::TokenBuilder;
use serde_json::json;

use crate::scripted::{CLIENT, NOW, Scripted};

/// Begins an honest logout token.
pub(crate) fn token(op: &Scripted) -> TokenBuilder {
    op.issuer
        .token()
        .typ("logout+jwt")
        .audience(CLIENT)
        .without_claim("client_id")
        .claim("sid", "s1")
        .claim("exp", NOW.as_secs() + 120)
        .claim("events", json!({"http://schemas.openid.net/event/backchannel-logout": {}}))
}
