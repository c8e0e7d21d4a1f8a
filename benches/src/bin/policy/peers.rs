//! The same rules by other libraries.

use casbin::prelude::{CoreApi as _, DefaultModel, Enforcer, MemoryAdapter, MgmtApi as _};
use gatehouse::{EvaluationSession, PermissionChecker, PolicyBuilder, PolicyDomain};
use sekisho_benches::decisions::Facts;
use sekisho_benches::ready;
use serde::Serialize;

/// `gatehouse`: the facts are the subject and the resource, a policy is a function of both.
pub(crate) struct Gatehouse {
    scope_or_role: PermissionChecker<Orders>,
    owner_or_clerk: PermissionChecker<Orders>,
}

struct Orders;

#[derive(Debug, Clone)]
struct Read;

impl PolicyDomain for Orders {
    type Subject = Facts;
    type Action = Read;
    type Resource = Facts;
    type Context = ();
}

impl Gatehouse {
    pub(crate) fn new() -> Self {
        let has = |list: &[String], one: &str| list.iter().any(|own| own == one);
        let mut scope_or_role = PermissionChecker::<Orders>::new();
        scope_or_role
            .add_policy(PolicyBuilder::new("scope").subjects(move |s: &Facts| has(&s.scopes, "orders:read")).build());
        scope_or_role.add_policy(PolicyBuilder::new("role").subjects(move |s: &Facts| has(&s.roles, "admin")).build());
        let mut owner_or_clerk = PermissionChecker::<Orders>::new();
        let owns = |s: &Facts, _: &Read, order: &Facts, (): &()| s.subject == order.owner;
        owner_or_clerk.add_policy(PolicyBuilder::new("owner").when(owns).build());
        let clerk = move |s: &Facts, _: &Read, order: &Facts, (): &()| {
            has(&s.roles, "clerk") && s.subject_tenant == order.tenant
        };
        owner_or_clerk.add_policy(PolicyBuilder::new("clerk").when(clerk).build());
        Self { scope_or_role, owner_or_clerk }
    }

    pub(crate) fn scope_or_role(&self, facts: &Facts) -> bool {
        Self::check(&self.scope_or_role, facts)
    }

    pub(crate) fn owner_or_clerk(&self, facts: &Facts) -> bool {
        Self::check(&self.owner_or_clerk, facts)
    }

    /// A session is one request's; the future never waits.
    fn check(checker: &PermissionChecker<Orders>, facts: &Facts) -> bool {
        let session = EvaluationSession::empty();
        ready(checker.bind(&session, facts, &Read, &()).check(facts)).is_granted()
    }
}

/// `casbin`: roles of users in memory, and attributes of subject and object in a matcher.
pub(crate) struct Casbin {
    roles: Enforcer,
    attributes: Enforcer,
}

const ROLES: &str = "
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act
";

const ATTRIBUTES: &str = "
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = (r.sub.id == r.obj.owner || r.sub.role == p.sub && r.sub.tenant == r.obj.tenant) && r.obj.kind == p.obj && r.act == p.act
";

#[derive(Serialize, Hash)]
struct Subject<'a> {
    id: &'a str,
    role: &'a str,
    tenant: &'a str,
}

#[derive(Serialize, Hash)]
struct Object<'a> {
    kind: &'a str,
    owner: &'a str,
    tenant: &'a str,
}

impl Casbin {
    /// Nothing of it waits: model and policies are in memory.
    pub(crate) fn new(facts: &Facts) -> Self {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let enforcer = |model: &str| {
            let model = ready(DefaultModel::from_str(model)).unwrap();
            ready(Enforcer::new(model, MemoryAdapter::default())).unwrap()
        };
        let mut roles = enforcer(ROLES);
        for role in ["admin", "clerk"] {
            assert!(ready(roles.add_policy(words(&[role, "order", "read"]))).unwrap());
        }
        for role in &facts.roles {
            assert!(ready(roles.add_grouping_policy(words(&[&facts.subject, role]))).unwrap());
        }
        let mut attributes = enforcer(ATTRIBUTES);
        assert!(ready(attributes.add_policy(words(&["clerk", "order", "read"]))).unwrap());
        Self { roles, attributes }
    }

    pub(crate) fn scope_or_role(&self, facts: &Facts) -> bool {
        self.roles.enforce((facts.subject.as_str(), "order", "read")).unwrap()
    }

    pub(crate) fn owner_or_clerk(&self, facts: &Facts) -> bool {
        let role = facts.roles.iter().find(|role| *role == "clerk").map_or("", String::as_str);
        let subject = Subject { id: &facts.subject, role, tenant: &facts.subject_tenant };
        let object = Object { kind: "order", owner: &facts.owner, tenant: &facts.tenant };
        self.attributes.enforce((subject, object, "read")).unwrap()
    }
}
