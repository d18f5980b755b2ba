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

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::pg_sys;

use super::generation::{self, Stamp, Topic};
use super::trigger::{Operation, Trigger};
use super::xact::{self, Snapshot};
use super::{catalog, role, shmem};
use crate::raw_function;

/// Whose rows, read by which role: another might see others.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Owner {
    relation: pg_sys::Oid,
    tenant: [u8; 16],
    user: Box<str>,
    role: pg_sys::Oid,
}

/// The database's state that something was read in.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    stamp: Stamp,
    epoch: u64,
}

struct Entry<T> {
    state: State,
    value: Option<Rc<T>>,
    bytes: usize,
    used: u64,
    work: u64,
}

/// Kept things of one kind, the least recently used of which go first.
pub struct Kept<T> {
    entries: RefCell<HashMap<Owner, Entry<T>>>,
    clock: Cell<u64>,
}

/// Where a user's rows may be kept, in the state that the statement's snapshot sees.
pub struct Place<'a, T> {
    kept: &'a Kept<T>,
    owner: Owner,
    state: State,
    most_bytes: usize,
}

/// What an entry takes beside its value.
const ENTRY: usize = 256;

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
            clock: Cell::new(0),
        }
    }
}

impl<T> Kept<T> {
    /// The place of a user's rows of some tables, all of whose changes the first is told of (`kept_changed`); by the last of them. None
    /// where nothing may be kept, or read from here. The caller holds locks on the tables, and the current role may read them.
    pub fn place(
        &self,
        relations: &[pg_sys::Oid],
        tenant: [u8; 16],
        user: &str,
        most_bytes: usize,
    ) -> Option<Place<'_, T>> {
        if most_bytes == 0 {
            return None;
        }
        let state = now(relations, &topic(*relations.first()?, &tenant, user))?;
        let owner = Owner {
            relation: *relations.last()?,
            tenant,
            user: user.into(),
            role: role::current(),
        };
        Some(Place {
            kept: self,
            owner,
            state,
            most_bytes,
        })
    }
}

impl<T> Place<'_, T> {
    /// What is kept there.
    pub fn get(&self) -> Option<Rc<T>> {
        self.with_entry(|entry| entry.value.clone()).flatten()
    }

    /// Keeps what was made of the rows as the statement's snapshot sees them, if there is room.
    pub fn put(&self, value: T, bytes: usize) -> Rc<T> {
        let value = Rc::new(value);
        if ENTRY + bytes <= self.most_bytes {
            self.insert(Some(Rc::clone(&value)), bytes, 0);
        }
        value
    }

    /// Adds to the work that was done without anything being kept here, in this state; gives the sum.
    pub fn add_work(&self, work: u64) -> u64 {
        let sum = self.with_entry(|entry| {
            entry.work += work;
            entry.work
        });
        sum.unwrap_or_else(|| {
            self.insert(None, 0, work);
            work
        })
    }

    fn with_entry<R>(&self, work: impl FnOnce(&mut Entry<T>) -> R) -> Option<R> {
        let mut entries = self.kept.entries.borrow_mut();
        let entry = entries.get_mut(&self.owner).filter(|entry| entry.state == self.state)?;
        entry.used = self.kept.tick();
        Some(work(entry))
    }

    fn insert(&self, value: Option<Rc<T>>, bytes: usize, work: u64) {
        let mut entries = self.kept.entries.borrow_mut();
        entries.remove(&self.owner);
        let bytes = ENTRY + bytes;
        let mut total = bytes + entries.values().map(|entry| entry.bytes).sum::<usize>();
        while total > self.most_bytes {
            let oldest = entries.iter().min_by_key(|(_, entry)| entry.used);
            let Some(owner) = oldest.map(|(owner, _)| owner.clone()) else {
                break;
            };
            total -= entries.remove(&owner).map_or(0, |entry| entry.bytes);
        }
        let entry = Entry {
            state: self.state,
            value,
            bytes,
            used: self.kept.tick(),
            work,
        };
        entries.insert(self.owner.clone(), entry);
    }
}

impl<T> Kept<T> {
    fn tick(&self) -> u64 {
        self.clock.set(self.clock.get() + 1);
        self.clock.get()
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
