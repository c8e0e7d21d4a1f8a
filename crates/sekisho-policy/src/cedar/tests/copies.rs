use std::sync::Barrier;
use std::thread;

use super::*;

/// Lets each of some threads say something of the same policies, all at once.
fn in_threads<T: Send>(policies: &CedarPolicies, say: impl Fn(&CedarPolicies) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(4);
    thread::scope(|scope| {
        let threads = [(); 4].map(|()| {
            scope.spawn(|| {
                barrier.wait();
                say(policies)
            })
        });
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn address<T: ?Sized>(of: &T) -> usize {
    std::ptr::from_ref(of).cast::<u8>() as usize
}

/// Says where what a decision about an order reads lies in memory: the words and the policies.
fn read_from(policies: &CedarPolicies) -> (usize, usize) {
    let inner = policies.inner();
    let names = ["User", "Action", "Order"].map(|kind| {
        let id = if kind == "Action" { "read" } else { "1" };
        EntityUid::from_type_name_and_id(kind.parse().unwrap(), EntityId::new(id))
    });
    let [principal, action, resource] = &names;
    let selection =
        inner.index.select(principal, action, resource, &Entities::empty(), &inner.selections).unwrap().unwrap();
    (address(&inner.words), address(&*selection.set))
}

fn distinct(mut of: Vec<usize>) -> usize {
    of.sort_unstable();
    of.dedup();
    of.len()
}

#[test]
fn threads_decide_alike_by_copies_of_their_own() {
    let fixed = r#"[{"uid":{"type":"Role","id":"lead"},"attrs":{},"parents":[]}]"#;
    let policies = builder()
        .with_entities(fixed)
        .with_annotation("owner")
        .with_revision("r7")
        .build(format!(
            r#"{POLICIES}
            @id("kept for as long as it takes to read this name") @owner("shop") @log("seen") @obligations("{{\"mask\":{{\"with\":\"*\"}}}}")
            permit(principal in Role::"lead", action == Action::"write", resource is Order);"#
        ))
        .unwrap();
    let whoever = |role: &str| PrincipalBuilder::new("https://id.example", "alice").with_roles([role]).build().unwrap();
    let principals = ["support", "lead", "none"].map(whoever);
    let say = |policies: &CedarPolicies| {
        let mut said = Vec::new();
        for _ in 0..3 {
            for (who, action) in principals.iter().zip(["read", "write", "read"]) {
                for order in [
                    r#"{"owner":"alice","total":1}"#,
                    r#"{"owner":"bob","total":1}"#,
                    r#"{"owner":"alice","total":501}"#,
                    r#"{"owner":"alice","total":9223372036854775807}"#,
                    r#"{"owner":"bob","total":1,"locked":true}"#,
                ] {
                    let decision = ask(policies, who, action, order).unwrap();
                    let parameters =
                        |obligation: &Obligation| obligation.parameters().map(|object| object.as_str().to_owned());
                    let parameters: Vec<_> = decision.obligations().iter().map(parameters).collect();
                    said.push(format!("{decision:?} {parameters:?}"));
                }
            }
        }
        said
    };
    let built = CedarPolicies(Arc::new(Copies {
        built: policies.0.built.copy(&policies.0.builder).unwrap(),
        // None is made of a schema that is too long.
        builder: CedarPolicies::builder(" ".repeat(64 << 10)),
        threads: PerThread::new(),
        warnings: Vec::new(),
    }));
    let wanted = say(&built);
    let wanted_of = |text: &str| wanted.iter().any(|said| said.contains(text));
    for text in
        ["iban", "mask", "seen", "gold", "for support", "cannot be evaluated: `huge`", "as long as it takes", "r7"]
    {
        assert!(wanted_of(text), "{text}: {wanted:#?}");
    }
    for said in in_threads(&policies, say) {
        assert_eq!(said, wanted);
    }
    let (words, sets) = in_threads(&policies, read_from).into_iter().unzip();
    // Threads of other tests in between may make two of them share a place.
    assert!(distinct(words) > 1);
    assert!(distinct(sets) > 1);
}

#[test]
fn what_takes_long_to_read_is_not_copied() {
    let schema = format!("{SCHEMA}//{}", "x".repeat(32 << 10));
    let policies = CedarPolicies::builder(schema).with_issuer("https://id.example").build(POLICIES).unwrap();
    let (words, sets) = in_threads(&policies, read_from).into_iter().unzip();
    assert_eq!((distinct(words), distinct(sets)), (1, 1));
    assert!(ask(&policies, &alice(), "read", r#"{"owner":"alice","total":1}"#).unwrap().is_permitted());
}

#[test]
fn of_many_policies_that_are_selected_together_there_is_one_set() {
    let policy = |number: usize| {
        format!("@id(\"{number}\") permit(principal, action, resource is Order) when {{ resource.total == {number} }};")
    };
    let text: String = (0..33).map(policy).collect();
    let policies = builder().build(text).unwrap();
    // Of several threads that put it together at once, each may have its own.
    let (_, set) = read_from(&policies);
    let (words, sets): (_, Vec<_>) = in_threads(&policies, read_from).into_iter().unzip();
    assert!(distinct(words) > 1);
    assert_eq!(sets, [set; 4]);
}

#[test]
fn a_thread_copies_a_bounded_number_of_policies_and_decides_on_by_those_that_are_shared() {
    let policy = |number: usize| {
        format!("@id(\"{number}\") permit(principal == User::\"u{number}\", action == Action::\"read\", resource);")
    };
    let text: String = (0..1_100).map(policy).collect();
    let policies = builder().build(text).unwrap();
    for _ in 0..2 {
        for number in 0..1_100 {
            let who = PrincipalBuilder::new("https://id.example", format!("u{number}")).build().unwrap();
            let decision = ask(&policies, &who, "read", r#"{"owner":"x","total":1}"#).unwrap();
            assert!(decision.is_permitted());
            assert_eq!(decision.reasons()[0].policy(), number.to_string());
        }
    }
    assert_eq!(policies.inner().selections.policies(), 1_000);
    assert!(!ask(&policies, &alice(), "read", r#"{"owner":"alice","total":1}"#).unwrap().is_permitted());
}
