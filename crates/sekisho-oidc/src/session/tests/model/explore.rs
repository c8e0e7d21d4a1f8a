//! The search: the real code is run from the start along a list of actions, then along the next one. A state that was met is not
//! gone into again.

use std::collections::HashSet;

use super::system::{Action, Scenario, System};

/// Counts what a search has seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Explored {
    pub(super) states: usize,
    pub(super) runs: usize,
    pub(super) steps: usize,
    pub(super) deepest: usize,
}

/// Goes through every state that can be reached, `most` at the most: more is a failure, for then nothing was proved.
pub(super) fn exhaust(scenario: &Scenario, most: usize) -> Result<Explored, String> {
    let mut explored = Explored::default();
    let mut seen = HashSet::new();
    let mut frames: Vec<(Vec<Action>, usize)> = Vec::new();
    loop {
        let mut system = System::new(scenario);
        explored.runs += 1;
        let chosen: Vec<Action> = frames.iter().map(|(actions, place)| actions[*place]).collect();
        for action in chosen {
            explored.steps += 1;
            system.apply(action).map_err(|violation| format!("{violation}\n{}", system.story()))?;
        }
        while seen.insert(system.fingerprint()) {
            assert!(seen.len() <= most, "more than {most} states");
            let actions = system.enabled();
            let Some(first) = actions.first().copied() else { break };
            frames.push((actions, 0));
            explored.deepest = explored.deepest.max(frames.len());
            explored.steps += 1;
            system.apply(first).map_err(|violation| format!("{violation}\n{}", system.story()))?;
        }
        explored.states = seen.len();
        loop {
            let Some((actions, place)) = frames.last_mut() else { return Ok(explored) };
            *place += 1;
            if *place < actions.len() {
                break;
            }
            frames.pop();
        }
    }
}

/// Walks so many times at random, as far as there is a way.
pub(super) fn walk(scenario: &Scenario, seeds: std::ops::Range<u64>) -> Result<Explored, String> {
    let mut explored = Explored::default();
    let mut seen = HashSet::new();
    for seed in seeds {
        let mut dice = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut system = System::new(scenario);
        let mut depth = 0;
        loop {
            seen.insert(system.fingerprint());
            let actions = system.enabled();
            if actions.is_empty() {
                break;
            }
            // A linear congruential step; the high bits are good enough to choose by.
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let place = usize::try_from(dice >> 33).unwrap() % actions.len();
            depth += 1;
            system
                .apply(actions[place])
                .map_err(|violation| format!("seed {seed}: {violation}\n{}", system.story()))?;
        }
        explored.runs += 1;
        explored.steps += depth;
        explored.deepest = explored.deepest.max(depth);
    }
    explored.states = seen.len();
    Ok(explored)
}
