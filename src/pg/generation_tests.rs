use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const USER: Topic = Topic { table: 7, part: 9 };

/// A server's transactions, by number.
#[derive(Clone, Default)]
struct Server {
    running: BTreeSet<u64>,
    next: u64,
    last_ended: u64,
}

impl Running for Server {
    fn is_running(&self, xid: u64) -> bool {
        self.running.contains(&xid)
    }

    fn next_xid(&self) -> u64 {
        self.next
    }
}

impl Seen for Server {
    fn xmin(&self) -> u64 {
        self.running
            .first()
            .copied()
            .unwrap_or(self.last_ended + 1)
            .min(self.last_ended + 1)
    }

    fn xmax(&self) -> u64 {
        self.last_ended + 1
    }

    fn has_ended(&self, xid: u64) -> bool {
        xid <= self.last_ended && !self.running.contains(&xid)
    }
}

impl Server {
    fn new() -> Self {
        Self {
            next: 10,
            last_ended: 9,
            ..Self::default()
        }
    }

    fn start(&mut self) -> u64 {
        self.running.insert(self.next);
        self.next += 1;
        self.next - 1
    }

    fn end(&mut self, xid: u64) {
        self.running.remove(&xid);
        self.last_ended = self.last_ended.max(xid);
    }
}

fn memory() -> Vec<AtomicU64> {
    std::iter::repeat_with(AtomicU64::default).take(words()).collect()
}

fn generations_in(words: &[AtomicU64]) -> Generations<'_> {
    Generations {
        words,
        era: Era::Writing,
    }
}

#[derive(Clone, Debug)]
enum Step {
    Start,
    /// The nth of those that run is about to commit a change of the topic, or of the whole table.
    Change(usize, bool),
    End(usize),
    Snapshot,
    /// The nth snapshot is asked to fill the cache, or answered from it.
    Use(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Start),
        3 => (0usize..4, prop::bool::weighted(0.2)).prop_map(|(n, whole)| Step::Change(n, whole)),
        3 => (0usize..4).prop_map(Step::End),
        2 => Just(Step::Snapshot),
        4 => (0usize..4).prop_map(Step::Use),
    ]
}

proptest! {
    /// What a snapshot sees is which changes have ended in it. Filled from one snapshot and read with another, the cache has to say
    /// what the second sees.
    #[test]
    fn a_cache_says_what_the_reader_s_snapshot_sees(steps in prop::collection::vec(step(), 0..200)) {
        let memory = memory();
        let generations = generations_in(&memory);
        let mut server = Server::new();
        generations.begin(&server);
        let mut changes: Vec<u64> = Vec::new();
        let mut snapshots = vec![server.clone()];
        let mut kept: Option<(Stamp, Vec<u64>)> = None;
        for step in steps {
            let nth = |n: usize| server.running.iter().nth(n).copied();
            match step {
                Step::Start => {
                    server.start();
                }
                Step::Change(n, whole) => {
                    if let Some(xid) = nth(n) && !changes.contains(&xid) {
                        generations.change(if whole { USER.whole() } else { USER }, xid, &server);
                        changes.push(xid);
                    }
                }
                Step::End(n) => {
                    if let Some(xid) = nth(n) {
                        server.end(xid);
                    }
                }
                Step::Snapshot => snapshots.push(server.clone()),
                Step::Use(n) => {
                    let snapshot = &snapshots[snapshots.len() - 1 - n.min(snapshots.len() - 1)];
                    let sees: Vec<u64> = changes.iter().copied().filter(|xid| snapshot.has_ended(*xid)).collect();
                    let stamp = generations.stamp(USER);
                    if generations.is_seen(USER, snapshot) {
                        match &kept {
                            Some((of, what)) if *of == stamp => prop_assert_eq!(what, &sees),
                            _ => kept = Some((stamp, sees)),
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_long_transaction_elsewhere_does_not_stop_the_caches() {
    let memory = memory();
    let generations = generations_in(&memory);
    let mut server = Server::new();
    generations.begin(&server);
    let long = server.start();
    for _ in 0..10 {
        let xid = server.start();
        generations.change(USER, xid, &server);
        assert!(!generations.is_seen(USER, &server), "a change that has not ended");
        server.end(xid);
    }
    let other = server.start();
    server.end(other);
    assert!(generations.is_seen(USER, &server));
    server.end(long);
}

#[test]
fn who_made_room_is_not_forgotten_by_an_older_snapshot() {
    let memory = memory();
    let generations = generations_in(&memory);
    let mut server = Server::new();
    generations.begin(&server);
    // So that no snapshot's xmin says anything; and the one that makes room is the oldest of those that change.
    let long = server.start();
    let replacing = server.start();
    let first: Vec<u64> = CHANGERS.map(|_| server.start()).collect();
    for xid in &first {
        generations.change(USER, *xid, &server);
    }
    for xid in &first[1..] {
        server.end(*xid);
    }
    let old = server.clone();
    server.end(first[0]);
    generations.change(USER, replacing, &server);
    server.end(replacing);
    let same_xmax = Server {
        running: BTreeSet::from([long, first[0]]),
        ..old
    };
    assert!(same_xmax.xmax() == server.next && !generations.is_seen(USER, &same_xmax));
    let other = server.start();
    server.end(other);
    assert!(generations.is_seen(USER, &server));
}

#[test]
fn what_ran_before_the_beginning_is_waited_for() {
    let memory = memory();
    let generations = generations_in(&memory);
    let mut server = Server::new();
    let before = server.start();
    assert!(!generations.is_seen(USER, &server));
    generations.begin(&server);
    assert!(!generations.is_seen(USER, &server));
    server.end(before);
    assert!(generations.is_seen(USER, &server));
}

#[test]
fn topics_change_by_themselves_and_with_their_table() {
    let memory = memory();
    let generations = generations_in(&memory);
    let mut server = Server::new();
    generations.begin(&server);
    let other = USER.part(12_345);
    let (before, of_other) = (generations.stamp(USER), generations.stamp(other));
    let mut change = |topic| {
        let xid = server.start();
        generations.change(topic, xid, &server);
        server.end(xid);
    };
    change(USER);
    assert_ne!(generations.stamp(USER), before);
    assert_eq!(generations.stamp(other), of_other);
    change(USER.whole());
    assert_ne!(generations.stamp(other), of_other);
}

#[test]
fn what_was_kept_or_prepared_before_a_promotion_is_out_of_use() {
    let memory = memory();
    let mut server = Server::new();
    let standby = Generations {
        words: &memory,
        era: Era::Replaying,
    };
    standby.begin(&server);
    let kept = standby.stamp(USER);
    assert!(standby.is_seen(USER, &server));
    // Prepared on the old primary, by a change that nobody here was told of.
    let prepared = server.start();
    let promoted = generations_in(&memory);
    assert!(!promoted.is_seen(USER, &server), "before it began");
    promoted.begin(&server);
    assert_ne!(promoted.stamp(USER), kept);
    assert_ne!(promoted.stamp(USER.whole()), standby.stamp(USER.whole()));
    assert!(!promoted.is_seen(USER, &server), "a prepared change");
    server.end(prepared);
    assert!(promoted.is_seen(USER, &server));
}
