//! The order of steps that depend on one another.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The dependencies, by places in a list of steps.
pub(crate) struct Edges {
    pub(crate) before: Vec<Vec<usize>>,
    pub(crate) after: Vec<Vec<usize>>,
}

impl Edges {
    /// The places, each after those that it depends on, and otherwise the first first. Steps in order stay as
    /// they are. So a plan that is read back has the order in which it was stored. `Err`: a place on a cycle.
    pub(crate) fn order(&self) -> Result<Vec<usize>, usize> {
        let mut missing: Vec<usize> = self.before.iter().map(Vec::len).collect();
        let ready = (0..missing.len()).filter(|place| missing[*place] == 0);
        let mut ready: BinaryHeap<Reverse<usize>> = ready.map(Reverse).collect();
        let mut order = Vec::with_capacity(missing.len());
        while let Some(Reverse(place)) = ready.pop() {
            order.push(place);
            for next in &self.after[place] {
                missing[*next] -= 1;
                if missing[*next] == 0 {
                    ready.push(Reverse(*next));
                }
            }
        }
        let waits = |place: &usize| missing[*place] > 0;
        let Some(mut place) = (0..missing.len()).find(waits) else { return Ok(order) };
        // Each waiting step has another waiting step before it. After this many steps back, one is met again.
        for _ in 0..missing.len() {
            place = self.before[place].iter().copied().find(waits).unwrap_or(place);
        }
        Err(place)
    }
}
