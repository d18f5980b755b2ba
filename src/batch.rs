//! Batches: a jsonb array of objects, each element read by name; what is wrong names the element, counted from 1.

use pgrx::datum::{TimestampWithTimeZone, Uuid};

use crate::check;
use crate::context::scope::Scope;
use crate::context::{self, Reach, hold};
use crate::error::{Error, Result, shown};
use crate::iso8601;
use crate::pg::jsonb::{Container, Jsonb, Value};
use crate::pg::time;
use crate::tenant::identifier::parse_uuid;

/// One object of a batch.
#[derive(Clone, Copy)]
pub struct Element<'a> {
    /// The argument that the batch came in.
    argument: &'static str,
    /// Counted from 1.
    pub number: usize,
    object: Container<'a>,
}

/// The elements of a batch, in order.
pub fn elements<'a>(argument: &'static str, batch: Option<Jsonb<'a>>) -> Result<Vec<Element<'a>>> {
    let batch = check::needed(argument, batch)?;
    let root = batch.root();
    if !root.is_array() {
        return Err(Error::bad_argument(
            format!("{argument} is no jsonb array"),
            "A batch is an array of objects: '[{…}, {…}]'.",
        ));
    }
    let element = |(i, value)| match value {
        Value::Nested(object) if object.is_object() => Ok(Element {
            argument,
            number: i + 1,
            object,
        }),
        other => Err(Error::bad_argument(
            format!("element {} of {argument} is {}, not an object", i + 1, other.kind()),
            "A batch is an array of objects: '[{…}, {…}]'.",
        )),
    };
    root.elements().enumerate().map(element).collect()
}

/// Whose each element of a batch that is stored is: one tenant's, of the user that the element names, else of the call's.
pub struct Subjects<'a> {
    call: Named<'a>,
    tenant: Option<[u8; 16]>,
    /// What the last element named, and the user that it stands for.
    last: Option<(Named<'a>, String)>,
}

/// A tenant and a user, as arguments name them.
type Named<'a> = (Option<&'a str>, Option<&'a str>);

impl<'a> Subjects<'a> {
    /// From the call's own arguments. They are checked even where no element follows; a call without a user is good
    /// as long as every element names one.
    pub fn new(tenant: Option<&'a str>, user: Option<&'a str>) -> Result<Self> {
        context::subject_to(Scope::Write, tenant, user, Reach::Tenant)?;
        Ok(Self {
            call: (tenant, user),
            tenant: None,
            last: None,
        })
    }

    /// The user of an element. Another tenant than the elements before is 22023, one that the context does not allow 42501.
    pub fn user_of(&mut self, element: &Element<'a>) -> Result<&str> {
        let named = (
            element.text("tenant")?.or(self.call.0),
            element.text("user_id")?.or(self.call.1),
        );
        if self.last.as_ref().is_none_or(|(last, _)| *last != named) {
            let subject = hold::writer(named.0, named.1, Reach::User).map_err(|error| element.locate(error))?;
            if *self.tenant.get_or_insert(subject.tenant) != subject.tenant {
                return Err(element.wrong("tenant", "is another than before: a batch is one tenant's"));
            }
            self.last = Some((named, subject.user.unwrap_or_default()));
        }
        Ok(self.last.as_ref().map(|(_, user)| user.as_str()).unwrap_or_default())
    }

    /// The elements' tenant; None where there are none.
    pub fn tenant(&self) -> Option<[u8; 16]> {
        self.tenant
    }
}

impl<'a> Element<'a> {
    /// An error about a field of this element.
    pub fn wrong(&self, field: &str, what: &str) -> Error {
        Error::bad_argument(
            format!("element {} of {}: {field} {what}", self.number, self.argument),
            "Nothing was stored. Mend the element, or leave it out.",
        )
    }

    /// The same error, said of this element.
    pub fn locate(&self, error: Error) -> Error {
        Error {
            message: format!("element {} of {}: {}", self.number, self.argument, error.message),
            ..error
        }
    }

    fn field(&self, name: &str) -> Option<Value<'a>> {
        self.object.field(name).filter(|value| !matches!(value, Value::Null))
    }

    /// A field that is a string; None where it is missing or null.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>> {
        match self.field(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, &format!("is {}, not a string", other.kind()))),
        }
    }

    /// A string that must be there and not be empty.
    pub fn needed_text(&self, name: &str) -> Result<&'a str> {
        match self.text(name)? {
            None => Err(self.wrong(name, "is missing")),
            Some("") => Err(self.wrong(name, "is empty")),
            Some(text) => Ok(text),
        }
    }

    pub fn timestamp(&self, name: &str) -> Result<Option<TimestampWithTimeZone>> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match iso8601::parse(text)
            .map(time::from_micros)
            .or_else(|| time::parse(text))
        {
            Some(time) => Ok(Some(time)),
            None => Err(self.wrong(name, &format!("{} is no timestamp", shown(text)))),
        }
    }

    pub fn uuid(&self, name: &str) -> Result<Option<Uuid>> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match parse_uuid(text.as_bytes()) {
            Some(uuid) => Ok(Some(Uuid::from_bytes(uuid))),
            None => Err(self.wrong(name, &format!("{} is no UUID", shown(text)))),
        }
    }

    pub fn real(&self, name: &str) -> Result<Option<f32>> {
        match self.field(name) {
            None => Ok(None),
            Some(Value::Number(digits)) => match digits.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(self.wrong(name, &format!("{} is out of range", shown(&digits)))),
            },
            Some(other) => Err(self.wrong(name, &format!("is {}, not a number", other.kind()))),
        }
    }

    /// A field that is an object, of at most memory.max_payload_size.
    pub fn object(&self, name: &str) -> Result<Option<Jsonb<'a>>> {
        match self.field(name) {
            None => Ok(None),
            Some(Value::Nested(object)) if object.is_object() => {
                check::payload_size(name, object.bytes()).map_err(|error| self.locate(error))?;
                Ok(Some(object.to_jsonb()))
            }
            Some(other) => Err(self.wrong(name, &format!("is {}, not an object", other.kind()))),
        }
    }

    /// A field that is an array of strings.
    pub fn texts(&self, name: &str) -> Result<Option<Vec<String>>> {
        let array = match self.field(name) {
            None => return Ok(None),
            Some(Value::Nested(array)) if array.is_array() => array,
            Some(other) => return Err(self.wrong(name, &format!("is {}, not an array", other.kind()))),
        };
        let text = |value: Value<'_>| match value {
            Value::Text(text) => Ok(text.to_owned()),
            other => Err(self.wrong(name, &format!("holds {}, not only strings", other.kind()))),
        };
        array.elements().map(text).collect::<Result<_>>().map(Some)
    }
}
