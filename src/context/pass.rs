//! What a context that was made from a token carries: which token, until when, which scopes.
//!
//! It is asked at every use of the context, by policies too, whether the token still holds: its time by the clock, its key (and, of a
//! service token, the token) by a look at their rows whenever one of these may have changed. A token that holds no more is an error at its next use,
//! not an empty answer: what is half read already must not look whole.

use std::cell::Cell;

use serde::{Deserialize, Serialize};

use super::key;
use super::scope::{Scope, Scopes};
use crate::error::{Error, Result};
use crate::pg::{catalog, process};
use crate::tenant::identifier::parse_uuid;

/// As the setting of the context writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// The key that signed the token; None for claims that somebody else has verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyTerms>,
    /// The id of a service token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Unix time in seconds.
    pub until: i64,
    pub scopes: Scopes,
}

/// A key, as it was when it verified the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyTerms {
    pub id: String,
    pub fingerprint: u64,
}

/// The terms, and when they were last looked at.
pub struct Pass {
    terms: Terms,
    token: Option<[u8; 16]>,
    /// The epoch of the catalog in which key and token were found to hold.
    seen: Cell<Option<u64>>,
}

impl Pass {
    /// None where the terms name a token that is no UUID.
    pub fn new(terms: Terms) -> Option<Self> {
        let token = match &terms.token {
            Some(id) => Some(parse_uuid(id.as_bytes())?),
            None => None,
        };
        Some(Self {
            terms,
            token,
            seen: Cell::new(None),
        })
    }

    pub fn has(&self, scope: Scope) -> bool {
        self.terms.scopes.has(scope)
    }

    /// Raises 42501 where the token has expired, or it or its key was revoked or changed.
    pub fn verify(&self) -> Result<()> {
        let now = process::unix_seconds();
        if now >= self.terms.until {
            return Err(over(
                "the token of the security context has expired",
                "Begin a transaction with a new token.",
            ));
        }
        catalog::accept_invalidations();
        let epoch = catalog::epoch();
        if self.seen.get() != Some(epoch) {
            self.look_up(now)?;
            self.seen.set(Some(epoch));
        }
        Ok(())
    }

    fn look_up(&self, now: i64) -> Result<()> {
        const HINT: &str = "Ask who issues tokens for a new one.";
        if let Some(terms) = &self.terms.key {
            let holds = key::find(&terms.id)
                .is_some_and(|key| !key.is_revoked && !key.has_expired(now) && key.fingerprint() == terms.fingerprint);
            if !holds {
                return Err(over("the key of the security context's token no longer holds", HINT));
            }
        }
        if let Some(token) = self.token {
            let holds = key::find_issued(token).is_some_and(|issued| !issued.is_revoked && issued.expires_at > now);
            if !holds {
                return Err(over("the token of the security context was revoked", HINT));
            }
        }
        Ok(())
    }
}

fn over(message: &str, hint: &str) -> Error {
    Error::not_allowed(message, hint)
}
