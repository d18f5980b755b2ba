//! Payloads of tenants whose data is encrypted at rest (sql/trust_key.sql): a jsonb object becomes {"_encrypted": "…"} beside the keys that stay as
//! they are. A trigger encrypts whatever is written, by whomever; the functions that read decrypt.
//!
//! The text is base64 of the data key's id, the nonce, the ciphertext of the object's JSON and its tag; bound to tenant, user, kind and the row's ids.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::cipher::binding;
use super::{master, user_key};
use crate::audit;
use crate::context::hold;
use crate::error::{Error, Result};
use crate::pg::jsonb::{Jsonb, Value};
use crate::pg::jsonb_builder::Builder;
use crate::pg::role;
use crate::pg::trigger::Trigger;
use crate::raw_function;
use crate::tenant;

/// The key that the ciphertext stands under.
const ENCRYPTED: &str = "_encrypted";

/// What stays readable: the archive's stamp, and what makes a node an entity, which stands in columns of its own.
const PLAIN: [&str; 4] = ["_tenant", "entity_id", "entity_system", "entity_type"];

const ID_BYTES: usize = 16;

/// Whose object it is, and which.
struct Place<'a> {
    tenant: [u8; 16],
    user: &'a str,
    kind: &'a str,
    ids: [&'a str; 2],
}

impl Place<'_> {
    fn bound_to(&self, key_id: &[u8; 16]) -> Vec<u8> {
        binding(&[
            b"memory_ext payload 1",
            &self.tenant,
            self.user.as_bytes(),
            self.kind.as_bytes(),
            self.ids[0].as_bytes(),
            self.ids[1].as_bytes(),
            key_id,
        ])
    }

    fn tampered(&self) -> Error {
        let error = Error::corrupt(
            format!("the encrypted content of this {} fails its check", self.kind),
            "It was changed, or moved here from elsewhere: restore it from a backup.",
        );
        super::tampered(&error, "an encrypted payload fails its check", self.tenant, self.user);
        error
    }

    /// The object as it is stored; None where it has nothing to hide.
    fn encrypted<'a>(&self, object: Jsonb<'a>) -> Result<Option<Jsonb<'a>>> {
        let hidden = with_keys(object, |key| !PLAIN.contains(&key), None);
        if hidden.root().len() == 0 {
            return Ok(None);
        }
        hold::share(&self.tenant, self.user);
        let key = user_key::current(self.tenant, self.user)?;
        let sealed = key
            .cipher
            .seal(master::nonce(), &self.bound_to(&key.id), hidden.to_text().as_bytes());
        let text = STANDARD.encode([&key.id[..], &sealed].concat());
        // In memory of the call before `text` goes.
        Ok(Some(
            with_keys(object, |key| PLAIN.contains(&key), Some(&text)).copied(),
        ))
    }

    /// The object that was given; None where the stored one is not encrypted.
    fn decrypted<'a>(&self, object: Jsonb<'a>) -> Result<Option<Jsonb<'a>>> {
        let Some(Value::Text(text)) = object.root().field(ENCRYPTED) else {
            return Ok(None);
        };
        let (id, sealed) = parts(text).ok_or_else(|| self.tampered())?;
        let cipher = user_key::by_id(self.tenant, self.user, id)?;
        let plain = cipher
            .open(&self.bound_to(&id), &sealed)
            .ok_or_else(|| self.tampered())?;
        let text = std::str::from_utf8(&plain).expect("what encrypted() was given");
        let plain = Jsonb::parse(text);
        let mut builder = Builder::new();
        builder.begin();
        let fields = object.root().fields().filter(|(key, _)| *key != ENCRYPTED);
        for (key, value) in fields.chain(plain.root().fields()) {
            builder.key(key);
            builder.raw(value);
        }
        builder.end();
        Ok(Some(builder.finish()))
    }
}

/// The data key's id, and what it has sealed.
fn parts(text: &str) -> Option<([u8; ID_BYTES], Vec<u8>)> {
    let bytes = STANDARD.decode(text).ok()?;
    let (id, sealed) = bytes.split_at_checked(ID_BYTES)?;
    Some((id.try_into().ok()?, sealed.to_vec()))
}

/// Those keys of an object that are wanted, and the ciphertext if there is one.
fn with_keys<'b, 'a: 'b>(object: Jsonb<'a>, wanted: impl Fn(&str) -> bool, ciphertext: Option<&'b str>) -> Jsonb<'b> {
    let mut builder = Builder::new();
    builder.begin();
    for (key, value) in object.root().fields().filter(|(key, _)| wanted(key)) {
        builder.key(key);
        builder.raw(value);
    }
    if let Some(text) = ciphertext {
        builder.key(ENCRYPTED);
        builder.text(text);
    }
    builder.end();
    builder.finish()
}

raw_function!(encrypts, pg_finfo_encrypts, |call| {
    let encrypts = call.uuid_argument(0).is_some_and(tenant::encrypts);
    call.value(encrypts)
});

raw_function!(decrypted, pg_finfo_decrypted, |call| {
    let (Some(tenant), Some(user), Some(kind), Some(object)) = (
        call.uuid_argument(0),
        call.str(1),
        call.str(2),
        call.argument::<Jsonb<'_>>(5),
    ) else {
        return call.same(5);
    };
    let place = Place {
        tenant,
        user,
        kind,
        ids: [call.str(3).unwrap_or_default(), call.str(4).unwrap_or_default()],
    };
    match place.decrypted(object) {
        Ok(Some(plain)) => call.value(plain),
        Ok(None) => call.same(5),
        Err(error) => error.raise(),
    }
});

// Before a row is written; its arguments: the column of the object, the kind, the columns of the ids.
raw_function!(encrypt_row, pg_finfo_encrypt_row, |call| {
    let trigger = Trigger::of(call);
    // A restore brings what is encrypted already, before the keys; what the extension moves stays as it is.
    if role::is_restoring() || audit::is_in_bulk() {
        return trigger.keep_row();
    }
    match changed(&trigger) {
        Ok(Some(object)) => trigger.new_row_with(&trigger.arguments()[0], object),
        Ok(None) => trigger.keep_row(),
        Err(error) => error.raise(),
    }
});

/// What the row's object becomes; None where it stays as it is.
fn changed<'a>(trigger: &'a Trigger) -> Result<Option<Jsonb<'a>>> {
    let arguments = trigger.arguments();
    let [column, kind, ids @ ..] = &arguments[..] else {
        unreachable!("declared with them")
    };
    if trigger.keeps(
        ["tenant_id", "user_id", column]
            .into_iter()
            .chain(ids.iter().map(String::as_str)),
    ) {
        return Ok(None);
    }
    let (Some(tenant), Some(user), Some(object)) = (
        trigger.new_value::<pgrx::datum::Uuid>("tenant_id"),
        trigger.new_value::<String>("user_id"),
        trigger.new_value::<Jsonb<'_>>(column),
    ) else {
        return Ok(None); // NULL, which the table refuses
    };
    let id = |i: usize| ids.get(i).map(|id| trigger.new_text(id)).unwrap_or_default();
    let (first, second) = (id(0), id(1));
    let place = Place {
        tenant: *tenant.as_bytes(),
        user: &user,
        kind,
        ids: [&first, &second],
    };
    // Another application's key of that name is a mistake, and no tampering.
    let is_ciphertext = match object.root().field(ENCRYPTED) {
        None => return place.encrypted(object),
        Some(Value::Text(text)) => parts(text).is_some(),
        Some(_) => false,
    };
    match is_ciphertext.then(|| place.decrypted(object)) {
        Some(Ok(Some(_))) => Ok(None),
        _ => Err(Error::bad_argument(
            format!("{column} has the key \"{ENCRYPTED}\", which is reserved"),
            "It is what encrypted tenants store; use another key.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Place;

    #[test]
    fn a_payload_is_bound_to_its_tenant_user_kind_ids_and_key() {
        let place = Place {
            tenant: [1; 16],
            user: "u",
            kind: "event",
            ids: ["s", "e"],
        };
        let all = HashSet::from([
            place.bound_to(&[1; 16]),
            place.bound_to(&[2; 16]),
            Place {
                tenant: [2; 16],
                ..place
            }
            .bound_to(&[1; 16]),
            Place { user: "v", ..place }.bound_to(&[1; 16]),
            Place { kind: "node", ..place }.bound_to(&[1; 16]),
            Place {
                ids: ["t", "e"],
                ..place
            }
            .bound_to(&[1; 16]),
            Place {
                ids: ["s", "f"],
                ..place
            }
            .bound_to(&[1; 16]),
            Place {
                ids: ["se", ""],
                ..place
            }
            .bound_to(&[1; 16]),
        ]);
        assert_eq!(all.len(), 8);
    }
}
