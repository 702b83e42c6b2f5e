//! The search for an order: Wing and Gong's, as Lowe made it fast.
//!
//! Calls and ends are one list in the order of time. Whatever call stands before the first end in the list may come
//! next; one that the state explains is taken out and applied. At an end whose call was not taken the last choice was
//! wrong, or, if the call need not have happened, it did not. What was settled, together with the state that this led
//! to, is remembered: from there on nothing depends on the order in which it was settled. Calls that tell their versions
//! are taken in that order and no other.

use super::call::{Call, Certainty, State};
use std::collections::HashSet;

/// What the search found.
pub(super) enum Found {
    /// There is an order that explains everything.
    Order,
    /// None does; of what was tried the longest explains so many calls and not this one.
    None { explained: usize, stuck: usize },
    /// Not within the bound.
    GaveUp,
}

/// Ends behind calls; the first entry of the list stands before all of them.
const HEAD: usize = 0;

/// The list: for each entry the one before and behind it.
struct List {
    before: Vec<usize>,
    behind: Vec<usize>,
    /// The entries of each call: its beginning and its end.
    of_call: Vec<(usize, usize)>,
    /// The call of each entry, and whether it is its end.
    call: Vec<(usize, bool)>,
}

impl List {
    fn new(calls: &[Call]) -> Self {
        let mut events: Vec<(u64, bool, usize)> = Vec::new();
        for (index, call) in calls.iter().enumerate() {
            events.push((call.began, false, index));
            events.push((call.ended, true, index));
        }
        // At one tick beginnings come first: they overlap.
        events.sort_unstable();
        let count = events.len() + 1;
        let mut list = Self {
            before: (0..count).map(|entry| entry.saturating_sub(1)).collect(),
            behind: (1..=count).map(|entry| entry % count).collect(),
            of_call: vec![(HEAD, HEAD); calls.len()],
            call: vec![(usize::MAX, false)],
        };
        list.before[HEAD] = count - 1;
        for (at, (_, is_end, index)) in events.into_iter().enumerate() {
            let entry = at + 1;
            list.call.push((index, is_end));
            let of_call = &mut list.of_call[index];
            *(if is_end {
                &mut of_call.1
            } else {
                &mut of_call.0
            }) = entry;
        }
        list
    }

    fn unlink(&mut self, entry: usize) {
        let (before, behind) = (self.before[entry], self.behind[entry]);
        self.behind[before] = behind;
        self.before[behind] = before;
    }

    fn link(&mut self, entry: usize) {
        let (before, behind) = (self.before[entry], self.behind[entry]);
        self.behind[before] = entry;
        self.before[behind] = entry;
    }

    fn take(&mut self, call: usize) {
        let (begin, end) = self.of_call[call];
        self.unlink(begin);
        self.unlink(end);
    }

    /// Undoes the last take that was not undone.
    fn put_back(&mut self, call: usize) {
        let (begin, end) = self.of_call[call];
        self.link(end);
        self.link(begin);
    }
}

/// One choice, and the state before it.
struct Choice {
    call: usize,
    happened: bool,
    before: State,
}

struct Search<'a> {
    calls: &'a [Call],
    list: List,
    state: State,
    settled: Vec<u64>,
    /// Calls that surely happened and are not settled.
    owed: usize,
    choices: Vec<Choice>,
    /// The calls that tell a version, by version, and how many of them are settled.
    told: Vec<usize>,
    told_settled: usize,
    seen: HashSet<(Vec<u64>, State)>,
    steps: u64,
    furthest: (usize, usize),
}

/// Looks for an order of `calls` that explains all of them, from `initial` on, in so many steps at most.
pub(super) fn search(initial: State, calls: &[Call], steps_max: u64) -> Found {
    let sure = calls
        .iter()
        .filter(|call| call.certainty == Certainty::Surely);
    let mut told: Vec<usize> = (0..calls.len()).collect();
    told.retain(|call| tells(&calls[*call]));
    told.sort_by_key(|call| calls[*call].version);
    let mut search = Search {
        calls,
        list: List::new(calls),
        state: initial,
        settled: vec![0; calls.len().div_ceil(64)],
        owed: sure.count(),
        choices: Vec::new(),
        told,
        told_settled: 0,
        seen: HashSet::new(),
        steps: 0,
        furthest: (0, 0),
    };
    search.run(steps_max)
}

/// Whether it says where it stands among those that say so.
fn tells(call: &Call) -> bool {
    call.version.is_some() && call.certainty == Certainty::Surely
}

impl Search<'_> {
    fn run(&mut self, steps_max: u64) -> Found {
        let mut entry = self.list.behind[HEAD];
        while self.owed > 0 {
            self.steps += 1;
            if self.steps > steps_max {
                return Found::GaveUp;
            }
            // Something that is owed has its end in the list: the head is not reached.
            let (call, is_end) = self.list.call[entry];
            entry = if !is_end {
                if self.choose(call, true) {
                    self.list.behind[HEAD]
                } else {
                    self.list.behind[entry]
                }
            } else if self.calls[call].certainty == Certainty::Maybe && self.choose(call, false) {
                self.list.behind[HEAD]
            } else {
                if self.choices.len() >= self.furthest.0 {
                    self.furthest = (self.choices.len(), call);
                }
                match self.go_back() {
                    Some(next) => next,
                    None => {
                        let (explained, stuck) = self.furthest;
                        return Found::None { explained, stuck };
                    }
                }
            };
        }
        Found::Order
    }

    /// Settles a call, unless the state does not explain it or this was tried before.
    fn choose(&mut self, call: usize, happened: bool) -> bool {
        let chosen = &self.calls[call];
        let mut state = self.state.clone();
        if happened {
            let is_next = self.told.get(self.told_settled) == Some(&call);
            if (tells(chosen) && !is_next) || !chosen.is_explained_by(&state) {
                return false;
            }
            chosen.apply_to(&mut state);
        }
        let mut settled = self.settled.clone();
        settled[call / 64] |= 1 << (call % 64);
        if !self.seen.insert((settled.clone(), state.clone())) {
            return false;
        }
        self.settled = settled;
        let before = std::mem::replace(&mut self.state, state);
        self.choices.push(Choice {
            call,
            happened,
            before,
        });
        self.owed -= usize::from(chosen.certainty == Certainty::Surely);
        self.told_settled += usize::from(tells(chosen));
        self.list.take(call);
        true
    }

    /// Undoes choices up to one that has an alternative: to come later. Returns where to go on.
    fn go_back(&mut self) -> Option<usize> {
        loop {
            let Choice {
                call,
                happened,
                before,
            } = self.choices.pop()?;
            self.state = before;
            self.settled[call / 64] &= !(1 << (call % 64));
            self.owed += usize::from(self.calls[call].certainty == Certainty::Surely);
            self.told_settled -= usize::from(tells(&self.calls[call]));
            self.list.put_back(call);
            // What was said not to have happened was tried at its end: there is no later.
            if happened {
                return Some(self.list.behind[self.list.of_call[call].0]);
            }
        }
    }
}
