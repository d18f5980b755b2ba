//! What a backend keeps in memory of users' rows, in another shape than the table's: built when it is first asked for, used while nothing has
//! changed (see `pg::generation`), bounded.
//!
//! **Why no answer differs from the table's.** What is kept was read by a snapshot that saw the end of all who had changed the user's rows, and
//! is used by snapshots that do too, while no more of them have come. Nobody uses it who has changed the rows himself; nor under
//! SERIALIZABLE, whose conflicts are found by what is read; nor on a standby, where no trigger runs. What changes a table as a whole (VACUUM FULL,
//! a trigger switched off) is an invalidation of the relation cache, which the caller's lock on the table has taken in.
//!
//! It is kept by table, tenant and user, all three from the caller's checked context: who may not read a user's rows cannot name
//! him here.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::pg_sys;

use super::generation::{self, Stamp, Topic};
use super::trigger::{Operation, Trigger};
use super::xact::{self, Snapshot};
use super::{catalog, shmem};
use crate::raw_function;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Owner {
    relation: pg_sys::Oid,
    tenant: [u8; 16],
    user: Box<str>,
}

/// The database's state that something was read in.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    stamp: Stamp,
    epoch: u64,
}

struct Entry<T> {
    state: State,
    value: Rc<T>,
    bytes: usize,
    used: u64,
}

/// Kept things of one kind, the least recently used of which go first.
pub struct Kept<T> {
    entries: RefCell<HashMap<Owner, Entry<T>>>,
    clock: std::cell::Cell<u64>,
}

/// The rows of a user in a table as a topic of `generation`.
pub fn topic(relation: pg_sys::Oid, tenant: &[u8; 16], user: &str) -> Topic {
    let table = Topic::table(u32::from(catalog::database()), u32::from(relation));
    table.part(generation::hash(&[tenant, user.as_bytes()]))
}

// Trigger: what is kept of the rows of the table that its argument names. Before a statement, whose rows a function that it calls might
// see, it is not known yet whose they are.
raw_function!(kept_changed, pg_finfo_kept_changed, |call| {
    let trigger = Trigger::of(call);
    let relation = trigger
        .arguments()
        .first()
        .map_or(pg_sys::InvalidOid, |of| catalog::relation_named(of));
    let table = Topic::table(u32::from(catalog::database()), u32::from(relation));
    if trigger.operation() == Operation::Truncate {
        generation::changed(table);
    } else if trigger.is_before_statement() {
        generation::writes(table);
    } else {
        trigger.each_owner(&mut |tenant, user| generation::changed(topic(relation, &tenant, user)));
    }
    trigger.keep_row()
});

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self {
            entries: RefCell::default(),
            clock: std::cell::Cell::new(0),
        }
    }
}

impl<T> Kept<T> {
    /// The user's rows of some tables, all of whose changes the first is told of (`kept_changed`), as the statement's snapshot sees them, in
    /// memory: kept, by the last of the tables, or made by `build` (which reads by the statement's snapshot, and says how many bytes it takes) and kept if there is room. None, and
    /// nothing built, where it may not be kept. The caller holds locks on the tables.
    pub fn get(
        &self,
        relations: &[pg_sys::Oid],
        tenant: [u8; 16],
        user: &str,
        most_bytes: usize,
        build: impl FnOnce() -> (T, usize),
    ) -> Option<Rc<T>> {
        if most_bytes == 0 {
            return None;
        }
        let state = now(relations, &topic(relations[0], &tenant, user))?;
        let owner = Owner {
            relation: relations[relations.len() - 1],
            tenant,
            user: user.into(),
        };
        self.clock.set(self.clock.get() + 1);
        if let Some(entry) = self.entries.borrow_mut().get_mut(&owner)
            && entry.state == state
        {
            entry.used = self.clock.get();
            return Some(Rc::clone(&entry.value));
        }
        let (value, bytes) = build();
        let value = Rc::new(value);
        let mut entries = self.entries.borrow_mut();
        entries.remove(&owner);
        if bytes <= most_bytes {
            let mut total: usize = bytes + entries.values().map(|entry| entry.bytes).sum::<usize>();
            while total > most_bytes {
                let oldest = entries.iter().min_by_key(|(_, entry)| entry.used);
                let Some(owner) = oldest.map(|(owner, _)| owner.clone()) else {
                    break;
                };
                total -= entries.remove(&owner).map_or(0, |entry| entry.bytes);
            }
            let entry = Entry {
                state,
                value: Rc::clone(&value),
                bytes,
                used: self.clock.get(),
            };
            entries.insert(owner, entry);
        }
        Some(value)
    }
}

/// The state of a topic, where what is kept in it is what the statement's snapshot sees.
fn now(relations: &[pg_sys::Oid], topic: &Topic) -> Option<State> {
    if !shmem::is_shared() || xact::is_serializable() || xact::is_standby() || generation::has_changed(*topic) {
        return None;
    }
    let stamp = generation::stamp(*topic);
    let epoch = relations.iter().map(|relation| catalog::epoch_of(*relation)).max()?;
    generation::is_seen(*topic, &Snapshot::active()).then_some(State { stamp, epoch })
}
