//! The testkit's tokens: hostile ones to be refused, honest ones to be taken.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sekisho_jwks::Algorithm;
use sekisho_testkit::{HostileContext, Issuer, ServedIssuer, honest_tokens, hostile_tokens};

use crate::block_on;
use crate::libraries::{Library, Setting};
use crate::tally::{Tally, Wanted};

const AUDIENCE: &str = "orders-api";

/// What the issuer signs by, one after the other, each with the name that libraries know it by.
pub(crate) const ALGORITHMS: [(Algorithm, &str); 3] =
    [(Algorithm::Rs256, "RS256"), (Algorithm::Es256, "ES256"), (Algorithm::Ed25519, "EdDSA")];

/// Shows every library the corpus, signed by three algorithms.
pub(crate) fn run(libraries: &[Box<dyn Library>]) -> Vec<Tally> {
    let mut tallies: Vec<Tally> = libraries.iter().map(|_| Tally::default()).collect();
    for (algorithm, name) in ALGORITHMS {
        let issuer = Issuer::new().with_algorithm(algorithm).with_decoys();
        let served = Arc::new(block_on(issuer.serve()).expect("a port on loopback"));
        let setting = Setting { issuer: Arc::clone(&served), audience: AUDIENCE, algorithm: name };
        for (library, tally) in libraries.iter().zip(&mut tallies) {
            if !library.offers(name) {
                continue;
            }
            let judge = library.tokens(&setting);
            // Some tokens live for one second more or less, so each half begins with a fresh second.
            for hostile in hostile_tokens(&context(&served, library.as_ref())) {
                let wanted = if hostile.strict { Wanted::Either } else { Wanted::Refuse };
                tally.ask((hostile.id, &hostile.name), name, wanted, || judge(&hostile.token));
            }
            for honest in honest_tokens(&context(&served, library.as_ref())) {
                tally.ask((honest.id, honest.name), name, Wanted::Accept, || judge(&honest.token));
            }
        }
    }
    tallies
}

/// Waits for the next second to begin, and takes it as the time of all tokens.
fn context(served: &ServedIssuer, library: &dyn Library) -> HostileContext {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    std::thread::sleep(Duration::from_secs(1) - Duration::from_nanos(now.subsec_nanos().into()));
    HostileContext::new(served.issuer(), AUDIENCE).with_leeway(Duration::from_secs(library.leeway()))
}
