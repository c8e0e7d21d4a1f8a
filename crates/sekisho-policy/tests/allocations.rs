//! Combinators around rules in Rust cost no memory. Alone in its binary, for it counts what the whole process allocates.

use std::alloc::System;

use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::{AccessRequest, Authorize, Resource, UnixSeconds, role, scope};
use sekisho_policy::combine::{
    Branch, all_must_permit, canary, deny_if, deny_overrides, fallback, first_applicable, local_then_remote, permit_if,
    permit_overrides,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn combinators_around_rules_that_answer_at_once_allocate_nothing() {
    let alice = PrincipalBuilder::new("https://id.example", "alice").with_scope("read").build().unwrap();
    // A write, of which a fallback remembers nothing.
    let request = AccessRequest::new(&alice, "write", Resource::new("order", "42"), UnixSeconds::new(1));
    let read = || scope("read");
    let tree = deny_overrides([
        deny_if(role("suspended")),
        permit_if(read()),
        Branch::from(first_applicable([deny_if(role("suspended")), Branch::from(read())])),
        Branch::from(permit_overrides([role("admin"), read()])).named("who may"),
        Branch::from(local_then_remote(read(), all_must_permit([read(), read()]))),
        Branch::from(canary(500, read(), read()).unwrap()),
        Branch::from(fallback(read()).reads(["read"]).build().unwrap()),
    ]);
    // The rules themselves: a denial of a scope counts a reference and no more.
    assert!(tree.decide_now(&request).unwrap().unwrap().is_permitted());
    // The harness allocates in threads of its own now and then; what is ours happens each time.
    let least = (0..20)
        .map(|_| {
            let region = Region::new(GLOBAL);
            for _ in 0..100 {
                assert!(tree.decide_now(&request).is_some_and(|outcome| outcome.is_ok_and(|one| one.is_permitted())));
            }
            region.change().allocations
        })
        .min();
    assert_eq!(least, Some(0));
}
