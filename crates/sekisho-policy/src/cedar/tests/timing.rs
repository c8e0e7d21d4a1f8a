use std::time::{Duration, Instant};

use sekisho_core::Resource;
use sekisho_core::dangerous::PrincipalBuilder;
use sekisho_core::json::JsonObject;

use super::*;

/// Returns the least of several means, for one decision.
fn time_of(policies: &CedarPolicies) -> Duration {
    let who = PrincipalBuilder::new("https://id.example", "alice").with_roles(["r3", "r7"]).build().unwrap();
    let order = JsonObject::parse(br#"{"owner":"bob","total":1}"#.to_vec()).unwrap();
    let request =
        AccessRequest::new(&who, "read", Resource::new("order", "1").with_attributes(&order), UnixSeconds::new(1000));
    let means = (0..20).map(|_| {
        let start = Instant::now();
        for _ in 0..200 {
            assert!(policies.decide_now(&request).unwrap().unwrap().is_permitted());
        }
        start.elapsed() / 200
    });
    means.min().unwrap()
}

#[test]
#[ignore = "measures; run it by itself"]
fn ten_thousand_policies_take_at_most_three_times_as_long_as_ten() {
    let mut times = Vec::new();
    for count in [10, 100, 1_000, 10_000] {
        let text: Vec<String> = (0..count)
            .map(|number| {
                format!(
                    "@id(\"{number}\") permit(principal in Role::\"r{number}\", action == Action::\"read\", resource is Order) \
                     when {{ resource.total < 1000 }};"
                )
            })
            .collect();
        let start = Instant::now();
        let policies = builder().build(text.join("\n")).unwrap();
        let built = start.elapsed();
        let time = time_of(&policies);
        println!("{count} policies: {time:?} a decision, built in {built:?}");
        times.push(time);
    }
    assert!(times[3] <= times[0] * 3, "{times:?}");
}
