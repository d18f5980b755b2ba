//! Fields that a service encrypts (sql/trust_key.sql).

use pgrx::datum::Uuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::cipher::binding;
use super::{master, user_key};
use crate::access;
use crate::check;
use crate::context::scope::Scope;
use crate::context::{self, Reach, Subject, hold};
use crate::error::{Error, Result};
use crate::pg::role;
use crate::pg::spi::{Statement, unwrap};

thread_local! {
    static STORE: Statement = const {
        Statement::new(
            "INSERT INTO memory.encrypted_fields (tenant_id, user_id, field_id, field, key_id, ciphertext, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, coalesce($7::timestamptz, now()))",
            &[
                pg_sys::UUIDOID,
                pg_sys::TEXTOID,
                pg_sys::UUIDOID,
                pg_sys::TEXTOID,
                pg_sys::UUIDOID,
                pg_sys::BYTEAOID,
                pg_sys::TEXTOID,
            ],
        )
    };
    static FIND: Statement = const {
        Statement::new(
            "SELECT f.tenant_id, f.user_id, f.field, f.key_id, f.ciphertext FROM memory.encrypted_fields f
             WHERE f.field_id = $1 AND ($2 IS NULL OR f.tenant_id = $2) AND ($3 IS NULL OR f.user_id = $3)",
            &[pg_sys::UUIDOID, pg_sys::UUIDOID, pg_sys::TEXTOID],
        )
    };
}

/// Raises 42501 unless the context is a service's (by a token: with the scope `admin`), or there is none and the role is a superuser.
fn require_service() -> Result<()> {
    context::require(Scope::Admin)?;
    match context::current() {
        Some(context) if context.is_service() => Ok(()),
        None if role::is_superuser() => Ok(()),
        _ => Err(Error::not_allowed(
            "fields are encrypted and decrypted by a service",
            "A service context names no user: SELECT memory.set_security_context('<tenant>', service_name => '…').",
        )),
    }
}

/// What a field's ciphertext is bound to.
fn bound_to(tenant: &[u8; 16], user: &str, field: &str, field_id: &[u8; 16], key_id: &[u8; 16]) -> Vec<u8> {
    binding(&[
        b"memory_ext field 1",
        tenant,
        user.as_bytes(),
        field.as_bytes(),
        field_id,
        key_id,
    ])
}

#[pg_extern(sql = false)]
fn encrypt_field(
    user_id: Option<&str>,
    field: Option<&str>,
    plaintext: Option<&str>,
    tenant: Option<&str>,
) -> std::result::Result<Uuid, ErrorReport> {
    require_service()?;
    let subject = hold::writer_to(Scope::Admin, tenant, user_id, Reach::User)?;
    let user = subject.user.unwrap_or_default();
    let field = check::text("field", field)?;
    let plaintext = check::needed("plaintext", plaintext)?;
    check::payload_size("plaintext", plaintext.len())?;
    let id = *uuid::Uuid::now_v7().as_bytes();
    seal(subject.tenant, &user, id, field, plaintext, None)?;
    Ok(Uuid::from_bytes(id))
}

/// A field that comes from elsewhere, where it has an id and a time already.
pub struct Given<'a> {
    pub id: [u8; 16],
    pub field: &'a str,
    pub plaintext: &'a str,
    /// As PostgreSQL writes a time.
    pub created_at: &'a str,
}

/// Encrypts a field under the user's key here and stores it. The caller holds the user.
pub fn store(tenant: [u8; 16], user: &str, given: &Given<'_>) -> Result<()> {
    check::payload_size("plaintext", given.plaintext.len())?;
    seal(
        tenant,
        user,
        given.id,
        given.field,
        given.plaintext,
        Some(given.created_at),
    )
}

fn seal(
    tenant: [u8; 16],
    user: &str,
    id: [u8; 16],
    field: &str,
    plaintext: &str,
    created_at: Option<&str>,
) -> Result<()> {
    let key = user_key::current(tenant, user)?;
    let bound_to = bound_to(&tenant, user, field, &id, &key.id);
    let ciphertext = key.cipher.seal(master::nonce(), &bound_to, plaintext.as_bytes());
    let row = [
        Uuid::from_bytes(tenant).into(),
        user.into(),
        Uuid::from_bytes(id).into(),
        field.into(),
        Uuid::from_bytes(key.id).into(),
        ciphertext.into(),
        created_at.into(),
    ];
    STORE.with(|s| s.write(&row, |_| ()));
    Ok(())
}

/// A row of encrypted_fields.
struct Field {
    tenant: [u8; 16],
    user: String,
    field: String,
    key_id: [u8; 16],
    ciphertext: Vec<u8>,
}

#[pg_extern(sql = false)]
fn decrypt_field(field_id: Option<Uuid>) -> std::result::Result<String, ErrorReport> {
    Ok(decrypt(field_id, None)?)
}

/// For an export: users of one tenant may have a field of the same id, once one was imported as another.
#[pg_extern(sql = false)]
fn decrypt_field_of(owner: Option<&str>, field_id: Option<Uuid>) -> std::result::Result<String, ErrorReport> {
    Ok(decrypt(field_id, owner)?)
}

fn decrypt(field_id: Option<Uuid>, owner: Option<&str>) -> Result<String> {
    require_service()?;
    let field_id = check::needed("field_id", field_id)?;
    let tenant = context::current().map(|context| Uuid::from_bytes(context.tenant));
    let found = FIND.with(|s| {
        s.read(&[field_id.into(), tenant.into(), owner.into()], |rows| {
            let row = rows.first();
            (!row.is_empty()).then(|| Field {
                tenant: *unwrap(row.get::<Uuid>(1)).expect("NOT NULL").as_bytes(),
                user: unwrap(row.get(2)).expect("NOT NULL"),
                field: unwrap(row.get(3)).expect("NOT NULL"),
                key_id: *unwrap(row.get::<Uuid>(4)).expect("NOT NULL").as_bytes(),
                ciphertext: unwrap(row.get(5)).expect("NOT NULL"),
            })
        })
    });
    let row = found.ok_or_else(|| check::unknown("field", &field_id.to_string()))?;
    let cipher = user_key::by_id(row.tenant, &row.user, row.key_id)?;
    let bound_to = bound_to(&row.tenant, &row.user, &row.field, field_id.as_bytes(), &row.key_id);
    let plain = cipher.open(&bound_to, &row.ciphertext).ok_or_else(|| {
        let error = Error::corrupt(
            format!("the encrypted field {field_id} fails its check"),
            "It was changed, or moved here from another tenant, user or field: restore it from a backup.",
        );
        super::tampered(&error, "an encrypted field fails its check", row.tenant, &row.user);
        error
    })?;
    let text = std::str::from_utf8(&plain).expect("what encrypt_field() was given");
    let subject = Subject {
        tenant: row.tenant,
        user: Some(row.user),
    };
    access::note("decrypt_field", &subject, Some(1));
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::bound_to;

    /// Who moves a ciphertext has the data key of both places only if it is the same user's; so the other parts count by themselves.
    #[test]
    fn a_ciphertext_is_bound_to_its_tenant_user_field_id_and_key() {
        let (one, other) = ([1; 16], [2; 16]);
        let all = HashSet::from([
            bound_to(&one, "u", "f", &one, &one),
            bound_to(&other, "u", "f", &one, &one),
            bound_to(&one, "v", "f", &one, &one),
            bound_to(&one, "u", "g", &one, &one),
            bound_to(&one, "u", "f", &other, &one),
            bound_to(&one, "u", "f", &one, &other),
        ]);
        assert_eq!(all.len(), 6);
    }
}
