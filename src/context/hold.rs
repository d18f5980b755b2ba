//! Who writes a user's data while it is erased: nobody.
//!
//! Protocol: whoever writes rows of a user shares that user until its transaction ends; erasing and anonymising have the user alone,
//! first thing, before any row is locked. So they wait for the writers that are there, those who come later wait for them, and what
//! those then write is a new user's. A function that stores asks for `writer` instead of `subject`, before it locks a row; a user
//! context that writes by itself does so before each statement (the trigger `hold`); what a service writes by itself is held row by row
//! when the audit logs it (`held_user`). That comes after the rows are locked: such a statement and an erasure at
//! once may find themselves in a deadlock, which PostgreSQL ends (40P01).
//!
//! A user stands for one of `STRIPES` numbers, so that a batch of any number of users holds no more locks than that.

use std::cell::Cell;

use pgrx::IntoDatum;

use super::scope::Scope;
use super::{Reach, Subject, current, subject_to};
use crate::error::Result;
use crate::pg::drain::{self, Drain};
use crate::pg::lock::{self, Mode};
use crate::raw_function;

/// So many users in each are let wait when one of them is erased; so many locks, of 6,400 by default, a batch may take.
pub const STRIPES: u32 = drain::GROUPS;

/// FNV-1a: a few nanoseconds, and the same in every backend.
pub fn stripe(tenant: &[u8; 16], user: &[u8]) -> u32 {
    let hash = tenant.iter().chain(user).fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    (hash >> 40) as u32 % STRIPES
}

thread_local! {
    /// The numbers that this transaction shares, a bit each: what is held is not asked for again.
    static SHARED: Cell<[u64; STRIPES as usize / 64]> = const { Cell::new([0; STRIPES as usize / 64]) };
}

/// Locks have been released, or will be: the (sub)transaction is over.
pub fn forget() {
    SHARED.set(Default::default());
}

fn share_stripe(stripe: u32) {
    let (word, bit) = ((stripe / 64) as usize, 1 << (stripe % 64));
    let mut shared = SHARED.get();
    if shared[word] & bit == 0 {
        lock::number(stripe, Mode::Shared);
        shared[word] |= bit;
        SHARED.set(shared);
    }
}

/// Writes of this transaction to the user are known from here on.
pub fn share(tenant: &[u8; 16], user: &str) {
    share_stripe(stripe(tenant, user.as_bytes()));
}

/// The same without waiting; false where the user is being erased, or an erasure waits.
pub fn try_share(tenant: &[u8; 16], user: &str) -> bool {
    lock::try_number(stripe(tenant, user.as_bytes()), Mode::Shared)
}

/// The user is being erased, and is held alone: what the ring has of them until the commit is written without their name.
pub fn erasing(drain: &'static Drain, tenant: &[u8; 16], user: &str) {
    drain.mark(stripe(tenant, user.as_bytes()));
}

/// Whether a record may name the user: not where they are being erased at this instant, or were since the record with this number (None: it stood in no
/// ring) was made, as the erasure may have read the table already. Nobody waits, because the erasure may be waiting for whoever waits for who asks.
pub fn may_name(drain: &Drain, tenant: &[u8; 16], user: &str, number: Option<u64>) -> bool {
    // Shared first: from then on nobody is erased, so what the mark says stays.
    try_share(tenant, user) && number.is_none_or(|number| drain.is_behind_mark(stripe(tenant, user.as_bytes()), number))
}

/// No other transaction writes to the user from here on.
pub fn alone(tenant: &[u8; 16], user: &str) {
    lock::number(stripe(tenant, user.as_bytes()), Mode::Alone);
}

/// Shares the user that the context names, if it names one.
pub fn share_own() {
    if let Some(context) = current()
        && let Some(user) = &context.user
    {
        share(&context.tenant, user);
    }
}

/// Whose rows a call writes: `subject`, of a context that may write, held.
pub fn writer(tenant: Option<&str>, user: Option<&str>, reach: Reach) -> Result<Subject> {
    writer_to(Scope::Write, tenant, user, reach)
}

/// `writer`, for what takes another scope than `write`.
pub fn writer_to(scope: Scope, tenant: Option<&str>, user: Option<&str>, reach: Reach) -> Result<Subject> {
    let subject = subject_to(scope, tenant, user, reach)?;
    if let Some(user) = &subject.user {
        share(&subject.tenant, user);
    }
    Ok(subject)
}

raw_function!(writer_subject, pg_finfo_writer_subject, |call| {
    let subject = super::sql::subject_of(call, Scope::Write, Reach::User);
    let user = subject.user.unwrap_or_default();
    share(&subject.tenant, &user);
    call.row([Some(call.uuid(subject.tenant)), user.into_datum()])
});

raw_function!(held_user, pg_finfo_held_user, |call| {
    if let (Some(tenant), Some(user)) = (call.uuid_argument(0), call.text(1)) {
        share_stripe(stripe(&tenant, user));
    }
    call.same(1)
});

raw_function!(hold_own, pg_finfo_hold_own, |call| {
    let trigger = crate::pg::trigger::Trigger::of(call);
    share_own();
    trigger.keep_row()
});

#[cfg(test)]
mod tests {
    use super::{STRIPES, stripe};

    #[test]
    fn users_spread_over_the_stripes() {
        let mut seen = vec![0; STRIPES as usize];
        for i in 0..STRIPES * 100 {
            seen[stripe(&[7; 16], format!("user-{i}").as_bytes()) as usize] += 1;
        }
        assert!(seen.iter().all(|count| (40..=200).contains(count)), "{seen:?}");
        assert_ne!(stripe(&[7; 16], b"ann"), stripe(&[8; 16], b"ann"));
    }
}
