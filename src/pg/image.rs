//! Rows as jsonb, byte for byte what to_jsonb() makes of them, from their columns as they are stored: an eighth of its time.
//!
//! Protocol: a `Shape` is made of a table's columns and holds until the table changes; an `Imager` serves one statement, for the
//! session's TimeZone may change between two. The rows have the table's columns in their order (`transition::each`). Types that are not written here go through to_jsonb().

use pgrx::datum::DatumWithOid;
use pgrx::{PgMemoryContexts, pg_sys};

use super::call::varlena;
use super::catalog::Column;
use super::jsonb_bytes::{self as bytes, Kind, TooLong};
use super::rows::Row;
use super::spi::PinnedPath;
use super::time;
use super::trigger::is_stored_alike;
use crate::error::Error;

/// How a column's value is written.
enum Form {
    Text,
    Uuid,
    Boolean,
    Bigint,
    Timestamp,
    Jsonb,
    Other(Box<pg_sys::FmgrInfo>),
}

struct Field {
    name: String,
    place: usize,
    form: Form,
    length: i16,
    by_value: bool,
}

/// How the rows of a table become jsonb: their key, and their image.
pub struct Shape {
    key: Vec<Field>,
    image: Vec<Field>,
    /// What `Form::Other` points to.
    _memory: PgMemoryContexts,
}

impl Shape {
    pub fn new(columns: &[Column]) -> Self {
        // SAFETY: back to the current memory context at once.
        let mut memory =
            unsafe { PgMemoryContexts::TopMemoryContext.switch_to(|_| PgMemoryContexts::new("memory_ext shape")) };
        let mut fields = |wanted: fn(&Column) -> bool| {
            let mut fields: Vec<Field> = columns
                .iter()
                .filter(|column| wanted(column))
                .map(|column| field(column, &mut memory))
                .collect();
            fields.sort_by(|a, b| bytes::order(&a.name).cmp(&bytes::order(&b.name)));
            fields
        };
        Self {
            key: fields(|column| column.in_key),
            image: fields(|column| column.imaged),
            _memory: memory,
        }
    }

    /// Whether two rows have one primary key.
    pub fn has_same_key(&self, old: &Row<'_>, new: &Row<'_>) -> bool {
        !self.key.iter().any(|field| field.differs(old, new))
    }
}

fn field(column: &Column, memory: &mut PgMemoryContexts) -> Field {
    let form = match column.type_oid {
        pg_sys::TEXTOID => Form::Text,
        pg_sys::UUIDOID => Form::Uuid,
        pg_sys::BOOLOID => Form::Boolean,
        pg_sys::INT8OID => Form::Bigint,
        pg_sys::TIMESTAMPTZOID => Form::Timestamp,
        pg_sys::JSONBOID => Form::Jsonb,
        // SAFETY: to_jsonb() asks its expression for the argument's type: here that of a parameter, made for this.
        other => Form::Other(Box::new(unsafe {
            memory.switch_to(|memory| {
                let mut function = pg_sys::FmgrInfo::default();
                pg_sys::fmgr_info_cxt(pg_sys::Oid::from(pg_sys::F_TO_JSONB), &mut function, memory.value());
                let argument = pg_sys::makeNullConst(other, -1, pg_sys::InvalidOid);
                let arguments = pg_sys::lappend(std::ptr::null_mut(), argument.cast());
                function.fn_expr = pg_sys::makeFuncExpr(
                    function.fn_oid,
                    pg_sys::JSONBOID,
                    arguments,
                    pg_sys::InvalidOid,
                    pg_sys::InvalidOid,
                    pg_sys::CoercionForm::COERCE_EXPLICIT_CALL,
                )
                .cast();
                function
            })
        })),
    };
    let (mut length, mut by_value) = (0, false);
    // SAFETY: a catalog lookup of a type that a column has.
    unsafe { pg_sys::get_typlenbyval(column.type_oid, &mut length, &mut by_value) }
    Field {
        name: column.plain_name.clone(),
        place: column.place,
        form,
        length,
        by_value,
    }
}

/// Writes the rows of one statement.
pub struct Imager<'s> {
    shape: &'s Shape,
    /// The fields of the image that are asked for, by their number.
    chosen: Vec<usize>,
    /// The last time that was written, and how: rows of one statement share theirs.
    last: Option<(i64, String)>,
    out: Vec<u8>,
    /// What others may set has no say in how numbers and names are written.
    _pinned: Option<PinnedPath>,
}

impl<'s> Imager<'s> {
    pub fn new(shape: &'s Shape) -> Self {
        Self {
            shape,
            chosen: Vec::new(),
            last: None,
            out: Vec::new(),
            _pinned: PinnedPath::new(),
        }
    }

    /// The row's primary key; as all of these in the current memory context.
    pub fn key<'a>(&mut self, row: &Row<'_>) -> DatumWithOid<'a> {
        let (shape, last) = (self.shape, &mut self.last);
        self.out.clear();
        let names = shape.key.iter().map(|field| field.name.as_str());
        let written = bytes::object(&mut self.out, names, |i, out| shape.key[i].write(row, out, last));
        finish(written, &self.out)
    }

    /// {name: the row}.
    pub fn whole<'a>(&mut self, name: &str, row: &Row<'_>) -> DatumWithOid<'a> {
        self.chosen.clear();
        self.chosen.extend(0..self.shape.image.len());
        self.wrapped(&[(name, Some(row))])
    }

    /// {"new": null, "old": …} or {"new": …, "old": null}, of the columns that are not NULL.
    pub fn half<'a>(&mut self, old: Option<&Row<'_>>, new: Option<&Row<'_>>) -> DatumWithOid<'a> {
        let row = old.or(new);
        let fields = self.shape.image.iter().enumerate();
        let is_there = |field: &Field| row.is_some_and(|row| row.value(field.place).is_some());
        self.chosen.clear();
        self.chosen
            .extend(fields.filter(|(_, field)| is_there(field)).map(|(i, _)| i));
        self.wrapped(&[("new", new), ("old", old)])
    }

    /// {"new": …, "old": …}, of the columns that are not stored alike.
    pub fn difference<'a>(&mut self, old: &Row<'_>, new: &Row<'_>) -> DatumWithOid<'a> {
        self.chosen.clear();
        let fields = self.shape.image.iter().enumerate();
        self.chosen
            .extend(fields.filter(|(_, field)| field.differs(old, new)).map(|(i, _)| i));
        self.wrapped(&[("new", Some(new)), ("old", Some(old))])
    }

    fn wrapped<'a>(&mut self, rows: &[(&str, Option<&Row<'_>>)]) -> DatumWithOid<'a> {
        let (shape, chosen, last) = (self.shape, &self.chosen, &mut self.last);
        self.out.clear();
        let written = bytes::object(&mut self.out, rows.iter().map(|(name, _)| *name), |i, out| {
            let Some(row) = rows[i].1 else {
                return Ok(bytes::NULL);
            };
            let names = chosen.iter().map(|field| shape.image[*field].name.as_str());
            bytes::object(out, names, |j, out| shape.image[chosen[j]].write(row, out, last))
        });
        finish(written, &self.out)
    }
}

fn finish<'a>(written: Result<Kind, TooLong>, out: &[u8]) -> DatumWithOid<'a> {
    let size = out.len() + 4;
    if written.is_err() || size >= 1 << 30 {
        Error::bound_passed(
            "a row is too long for the audit log",
            "Its columns together have to stay below 256 MB.",
        )
        .raise();
    }
    // SAFETY: a fresh varlena of that size, which holds a jsonb.
    unsafe {
        let varlena = pg_sys::palloc(size).cast::<pg_sys::varlena>();
        pgrx::set_varsize_4b(varlena, size as i32);
        std::ptr::copy_nonoverlapping(out.as_ptr(), varlena.cast::<u8>().add(4), out.len());
        DatumWithOid::new(pg_sys::Datum::from(varlena), pg_sys::JSONBOID)
    }
}

impl Field {
    fn differs(&self, old: &Row<'_>, new: &Row<'_>) -> bool {
        match (old.value(self.place), new.value(self.place)) {
            // SAFETY: two values of the column's type; of varlenas that are stored differently what they hold is compared.
            (Some(old), Some(new)) => unsafe {
                !is_stored_alike(old, new, self.length, self.by_value)
                    && (self.length != -1 || varlena(old) != varlena(new))
            },
            (old, new) => old.is_some() != new.is_some(),
        }
    }

    fn write(&self, row: &Row<'_>, out: &mut Vec<u8>, last: &mut Option<(i64, String)>) -> Result<Kind, TooLong> {
        let Some(value) = row.value(self.place) else {
            return Ok(bytes::NULL);
        };
        // SAFETY: a value of the column's type, which is what the form says.
        Ok(unsafe {
            match &self.form {
                Form::Text => {
                    out.extend_from_slice(varlena(value));
                    bytes::TEXT
                }
                Form::Uuid => {
                    let id = uuid::Uuid::from_bytes(*value.cast_mut_ptr::<[u8; 16]>());
                    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
                    out.extend_from_slice(id.as_hyphenated().encode_lower(&mut text).as_bytes());
                    bytes::TEXT
                }
                Form::Boolean => bytes::boolean(value.value() != 0),
                Form::Bigint => {
                    let numeric = pg_sys::int64_to_numeric(value.value() as i64).cast::<pg_sys::varlena>();
                    bytes::align(out);
                    let whole = std::slice::from_raw_parts(numeric.cast::<u8>(), pgrx::varsize_any(numeric));
                    out.extend_from_slice(whole);
                    bytes::NUMERIC
                }
                Form::Timestamp => {
                    let at = value.value() as i64;
                    if last.as_ref().is_none_or(|(last, _)| *last != at) {
                        *last = Some((at, time::json(at)));
                    }
                    out.extend_from_slice(last.as_ref().map_or("", |(_, text)| text).as_bytes());
                    bytes::TEXT
                }
                Form::Jsonb => bytes::value(out, varlena(value)),
                Form::Other(to_jsonb) => {
                    let jsonb = pg_sys::FunctionCall1Coll(
                        (&raw const **to_jsonb).cast_mut(),
                        pg_sys::DEFAULT_COLLATION_OID,
                        value,
                    );
                    bytes::value(out, varlena(jsonb))
                }
            }
        })
    }
}

impl Row<'_> {
    fn value(&self, place: usize) -> Option<pg_sys::Datum> {
        (!self.nulls[place]).then(|| self.values[place])
    }

    /// A column's value, for where it is handed on while the row is there. The row has the table's columns in their order.
    pub fn datum<'a>(&'a self, column: &Column) -> DatumWithOid<'a> {
        match self.value(column.place) {
            // SAFETY: a value of the column's type, which lives as long as the row.
            Some(value) => unsafe { DatumWithOid::new(value, column.type_oid) },
            None => DatumWithOid::null_oid(column.type_oid),
        }
    }
}
