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
fn threads_decide_by_copies_of_their_own_what_was_built_decides() {
    let schema = r#"
        namespace Shop {
            entity Role in [Role];
            entity User in [Role] { department?: String, scopes: Set<String> };
            entity Order { owner: User, total: Long, locked?: Bool, price?: decimal, note?: String };
            action read, write appliesTo { principal: User, resource: Order, context: { now: Long, ip?: ipaddr } };
        }
    "#;
    let text = r#"
        @id("own") permit(principal, action, resource is Shop::Order) when { resource.owner == principal };
        @id("support") @redact("iban") @advice("for \"support\"")
        permit(principal in Shop::Role::"support", action == Shop::Action::"read", resource is Shop::Order);
        @id("locked") forbid(principal, action == Shop::Action::"write", resource is Shop::Order)
            when { resource has locked && resource.locked };
        @id("huge") @step_up("gold") @max_age("60") forbid(principal, action == Shop::Action::"write", resource is Shop::Order)
            when { resource.total * 2 > 1000 };
        @id("kept for as long as it takes to read this name") @owner("shop") @log("seen") @obligation("count")
        @obligations("{\"mask\":{\"with\":\"*\"}}")
        permit( // everybody who leads
            principal in Shop::Role::"lead",
            action in [Shop::Action::"write", Shop::Action::"read"],
            resource is Shop::Order
        ) when { resource has note && resource.note like "\u{e1}\*\"*" } unless { principal.scopes.contains("none") };
        @id("dear") forbid(principal, action, resource is Shop::Order)
            when { resource has price && resource.price.greaterThan(decimal("9.5")) };
    "#;
    let of = |builder: CedarBuilder| {
        let fixed =
            r#"[{"uid":{"type":"Shop::Role","id":"boss"},"attrs":{},"parents":[{"type":"Shop::Role","id":"lead"}]}]"#;
        builder.with_entities(fixed).with_annotation("owner").with_revision("r7").build(text).unwrap()
    };
    let builder = CedarPolicies::builder(schema).with_namespace("Shop").with_issuer("https://id.example");
    let (built, policies) = (of(builder.clone().without_thread_copies()), of(builder));
    let whoever = |role: &str| PrincipalBuilder::new("https://id.example", "alice").with_roles([role]).build().unwrap();
    let principals = ["support", "lead", "boss", "none"].map(whoever);
    let say = |policies: &CedarPolicies| {
        let mut said = Vec::new();
        for who in &principals {
            for (action, order) in [
                ("read", r#"{"owner":"alice","total":1}"#),
                ("read", r#"{"owner":"bob","total":1}"#),
                ("read", r#"{"owner":"bob","total":1,"note":"á*\"x"}"#),
                ("write", r#"{"owner":"bob","total":1,"note":"á*\"x"}"#),
                ("write", r#"{"owner":"bob","total":1,"note":"ax\"x"}"#),
                ("write", r#"{"owner":"alice","total":501}"#),
                ("write", r#"{"owner":"alice","total":9223372036854775807}"#),
                ("write", r#"{"owner":"alice","total":1,"locked":true}"#),
                ("read", r#"{"owner":"alice","total":1,"price":"9.51"}"#),
                ("read", r#"{"owner":"alice","total":1,"price":"9.5"}"#),
            ] {
                let decision = ask(policies, who, action, order).unwrap();
                let parameters = |obligation: &Obligation| obligation.parameters().map(|all| all.as_str().to_owned());
                let parameters: Vec<_> = decision.obligations().iter().map(parameters).collect();
                said.push(format!("{decision:?} {parameters:?}"));
            }
        }
        said
    };
    let wanted = say(&built);
    for text in [
        "iban",
        "mask",
        "seen",
        "count",
        "gold",
        "60",
        "for \\\"support",
        "evaluated: `huge`",
        "read this name",
        "dear",
        "r7",
    ] {
        assert!(wanted.iter().any(|said| said.contains(text)), "{text}: {wanted:#?}");
    }
    for said in in_threads(&policies, |policies| [say(policies), say(policies)]) {
        assert_eq!(said, [wanted.clone(), wanted.clone()]);
    }
    assert_eq!(built.0.threads.made().count(), 0);
    let copied = |inner: &Inner| inner.selections.kept().1;
    assert!(policies.0.threads.made().all(|own| copied(own.as_ref().unwrap()) == 6));
}

#[test]
fn each_thread_has_words_and_policies_of_its_own() {
    let policies = builder().build(POLICIES).unwrap();
    let (words, sets) = in_threads(&policies, read_from).into_iter().unzip();
    // Threads of other tests in between may make two of them share a place.
    assert!(distinct(words) > 1);
    assert!(distinct(sets) > 1);
}

#[test]
fn nothing_is_copied_where_nobody_wants_it() {
    let policies = builder().without_thread_copies().build(POLICIES).unwrap();
    let (words, set) = read_from(&policies);
    let (all_words, sets): (Vec<_>, Vec<_>) = in_threads(&policies, read_from).into_iter().unzip();
    assert_eq!((all_words, sets), (vec![words; 4], vec![set; 4]));
}

#[test]
fn of_long_policies_that_are_selected_together_there_is_one_set() {
    let names: Vec<String> = (0..1_000).map(|number| format!("User::\"someone-{number}\"")).collect();
    let text = format!(
        "@id(\"a\") permit(principal, action, resource is Order) when {{ [{}].contains(principal) }};",
        names.join(",")
    );
    let policies = builder().build(text).unwrap();
    // Of several threads that put it together at once, each may have its own.
    let (_, set) = read_from(&policies);
    let (words, sets): (_, Vec<_>) = in_threads(&policies, read_from).into_iter().unzip();
    assert!(distinct(words) > 1);
    assert_eq!(sets, [set; 4]);
}

#[test]
fn a_thread_copies_each_policy_once_and_a_bounded_length_of_text() {
    let scope = |number: usize| format!("principal == User::\"u{number}\", action == Action::\"read\", resource");
    let policy = |number: usize| format!("@id(\"{number}\") permit({});", scope(number));
    let everybody =
        "@id(\"all\") forbid(principal, action == Action::\"read\", resource is Order) when { resource.total > 9 };";
    let text: String = (0..1_100).map(policy).chain([everybody.to_owned()]).collect();
    let policies = builder().build(&text).unwrap();
    for _ in 0..2 {
        for number in 0..1_100 {
            let who = PrincipalBuilder::new("https://id.example", format!("u{number}")).build().unwrap();
            let decision = ask(&policies, &who, "read", r#"{"owner":"x","total":1}"#).unwrap();
            assert!(decision.is_permitted());
            assert_eq!(decision.reasons()[0].policy(), number.to_string());
            let decision = ask(&policies, &who, "read", r#"{"owner":"x","total":10}"#).unwrap();
            assert_eq!((decision.effect(), decision.reasons()[0].policy()), (Effect::Deny, "all"));
        }
    }
    let each = everybody.len() + policy(1_000).len();
    let (bytes, copies) = policies.inner().selections.kept();
    assert!((128 << 10) - each < bytes && bytes <= 128 << 10, "{bytes}");
    // The one that stands in each selection was copied once.
    let selections = bytes / each;
    assert!((selections + 1..selections + 20).contains(&copies), "{copies} of {selections}");
}
