//! A node's content as jsonb: what makes it an entity, and merging it.

use crate::error::{Error, Result};
use crate::pg::jsonb::{Container, Jsonb, Raw, Value};
use crate::pg::jsonb_builder::Builder;

use super::merge::{self, Object, Sink};

/// The longest key that fits an index row beside its fellows, in bytes.
const LONGEST: usize = 1000;

/// What content says of the entity that it is about; all None for other nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entity {
    pub id: Option<String>,
    pub kind: Option<String>,
    pub system: Option<String>,
}

impl Entity {
    pub fn read(content: Container<'_>) -> Result<Self> {
        Ok(Self {
            id: word(content, "entity_id")?,
            kind: word(content, "entity_type")?,
            system: word(content, "entity_system")?,
        })
    }

    /// The key that it is stored once by, if it is one.
    pub fn key(&self) -> Option<(&str, &str)> {
        Some((self.system.as_deref()?, self.id.as_deref()?))
    }
}

/// A field of content that is a string or a number (then its text); null is as good as none.
fn word(content: Container<'_>, name: &str) -> Result<Option<String>> {
    let word = match Container::field(&content, name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Text(text)) => text.to_owned(),
        Some(Value::Number(digits)) => digits,
        Some(other) => {
            return Err(Error::bad_argument(
                format!("content's {name} is {}, neither a string nor a number", other.kind()),
                "Name the entity by a string or a number, or call the field something else.",
            ));
        }
    };
    if word.is_empty() {
        return Err(Error::bad_argument(
            format!("content's {name} is empty"),
            "Leave it out where the node is no entity: all entities with an empty name would be one.",
        ));
    }
    if word.len() > LONGEST {
        return Err(Error::bound_passed(
            format!("content's {name} has {} bytes, more than {LONGEST}", word.len()),
            "It stands in an index: use a shorter name, or a hash of it.",
        ));
    }
    Ok(Some(word))
}

/// The content of an entity that is stored now for the first time.
pub fn first<'a>(content: Jsonb<'a>, now: &'a str) -> Jsonb<'a> {
    let mut builder = Builder::new();
    merge::first(content.root(), now, &mut builder);
    builder.finish()
}

/// The content of an entity that was stored before, after `stores` more.
pub fn again<'a>(old: Jsonb<'a>, new: Jsonb<'a>, stores: i64) -> Jsonb<'a> {
    let mut builder = Builder::new();
    merge::again(old.root(), new.root(), stores, &mut builder);
    builder.finish()
}

/// Whether two stores of an entity cannot be made one (see `merge::hides`).
pub fn hides(old: Jsonb<'_>, new: Jsonb<'_>) -> bool {
    merge::hides(old.root(), new.root())
}

/// Two objects, key by key; new wins.
pub fn flat<'a>(old: Jsonb<'a>, new: Jsonb<'a>) -> Jsonb<'a> {
    let mut builder = Builder::new();
    merge::flat(old.root(), new.root(), &mut builder);
    builder.finish()
}

impl<'a> Object<'a> for Container<'a> {
    type Value = Raw<'a>;

    fn field(self, key: &str) -> Option<Raw<'a>> {
        self.raw_field(key)
    }

    fn fields(self) -> impl Iterator<Item = (&'a str, Raw<'a>)> {
        Container::fields(&self)
    }

    fn as_object(value: Raw<'a>) -> Option<Self> {
        match value.read() {
            Value::Nested(container) if container.is_object() => Some(container),
            _ => None,
        }
    }

    fn as_count(value: Raw<'a>) -> Option<i64> {
        match value.read() {
            Value::Number(digits) => digits.parse().ok().filter(|count| *count >= 0),
            _ => None,
        }
    }
}

impl<'a> Sink<'a, Raw<'a>> for Builder<'a> {
    fn begin(&mut self) {
        Builder::begin(self);
    }
    fn end(&mut self) {
        Builder::end(self);
    }
    fn key(&mut self, key: &'a str) {
        Builder::key(self, key);
    }
    fn value(&mut self, value: Raw<'a>) {
        Builder::raw(self, value);
    }
    fn number(&mut self, number: i64) {
        Builder::number(self, number);
    }
    fn text(&mut self, text: &'a str) {
        Builder::text(self, text);
    }
}
