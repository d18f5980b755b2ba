//! Scopes: what a context that was made from a token may do. One that was not may do what its role may.
//!
//! `write` brings `read` along, and so does `admin`: what is stored is merged with what is there, and an export gives everything
//! away. `read` and `write` are about sections 3, 5 and 6 of the contract, `archive` about section 4, `admin` about what takes out,
//! takes away or encrypts a user's data.

use serde::{Deserialize, Serialize};

/// One of the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Read = 1,
    Write = 2,
    Archive = 4,
    Admin = 8,
}

const WORDS: [(&str, Scope); 4] = [
    ("read", Scope::Read),
    ("write", Scope::Write),
    ("archive", Scope::Archive),
    ("admin", Scope::Admin),
];

impl Scope {
    /// The word in a token; None for one that says nothing here, such as `openid`.
    pub fn named(word: &str) -> Option<Self> {
        WORDS.iter().find(|(name, _)| *name == word).map(|(_, scope)| *scope)
    }

    pub fn name(self) -> &'static str {
        WORDS
            .iter()
            .find(|(_, scope)| *scope == self)
            .map_or("", |(name, _)| name)
    }

    /// What writing to a table takes, of who does it by a statement of their own.
    pub fn to_write(table: &str) -> Option<Self> {
        match table {
            "agent_sessions_archive" | "agent_events_archive" => Some(Self::Archive),
            "auth_keys" | "service_tokens" | "encrypted_fields" | "privacy_requests" | "legal_holds"
            | "retention_policies" => Some(Self::Admin),
            // Nobody has a statement of their own for it: a user's first text makes one, for who may store that.
            "user_keys" => None,
            _ => Some(Self::Write),
        }
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scopes(u8);

impl Scopes {
    /// Of words; those that are no scope are passed over.
    pub fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        Self(
            words
                .into_iter()
                .filter_map(Scope::named)
                .fold(0, |set, scope| set | scope as u8),
        )
    }

    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// With what the scopes bring along.
    pub fn completed(self) -> Self {
        let reads = self.0 & (Scope::Write as u8 | Scope::Admin as u8) != 0;
        Self(self.0 | if reads { Scope::Read as u8 } else { 0 })
    }

    pub fn has(self, scope: Scope) -> bool {
        self.0 & scope as u8 != 0
    }

    pub fn words(self) -> Vec<&'static str> {
        WORDS
            .iter()
            .filter(|(_, scope)| self.has(*scope))
            .map(|(name, _)| *name)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_scope_gives_nothing() {
        assert!(Scopes::of(["openid", "READ", "read ", ""]).is_empty());
        assert_eq!(Scopes::of(["openid", "read", "read"]).words(), ["read"]);
    }

    #[test]
    fn writing_and_administration_bring_reading_along_and_the_archive_does_not() {
        assert_eq!(Scopes::of(["write"]).completed().words(), ["read", "write"]);
        assert_eq!(Scopes::of(["admin"]).completed().words(), ["read", "admin"]);
        assert_eq!(Scopes::of(["archive"]).completed().words(), ["archive"]);
        assert!(Scopes::default().completed().is_empty());
    }
}
