use super::{Requirement, Rule};
use crate::Authorize as _;

/// Finds the sets of scopes each of which is enough.
pub(super) fn alternatives(requirement: &Requirement) -> Vec<Vec<&str>> {
    const MOST: usize = 64;
    let mut sets: Vec<Vec<&str>> = match &*requirement.0 {
        Rule::Scope(scope) => vec![scope.split(' ').filter(|one| !one.is_empty()).collect()],
        Rule::DecidedBy(authorizer) => authorizer.scope_alternatives(),
        Rule::Any(requirements) => requirements.iter().flat_map(alternatives).collect(),
        Rule::All(requirements) => requirements.iter().fold(vec![Vec::new()], |sets, requirement| {
            let more = alternatives(requirement);
            let mut joined = Vec::new();
            for set in &sets {
                for other in &more {
                    if joined.len() < MOST {
                        let mut both: Vec<&str> = set.clone();
                        other.iter().for_each(|one| push_once(&mut both, one));
                        joined.push(both);
                    }
                }
            }
            joined
        }),
        _ => vec![Vec::new()],
    };
    sets.truncate(MOST);
    let mut distinct: Vec<Vec<&str>> = Vec::with_capacity(sets.len());
    for set in sets {
        if !distinct.contains(&set) {
            distinct.push(set);
        }
    }
    distinct
}

pub(super) fn push_once<'a>(list: &mut Vec<&'a str>, one: &'a str) {
    if !one.is_empty() && !list.contains(&one) {
        list.push(one);
    }
}
