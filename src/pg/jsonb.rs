//! jsonb as PostgreSQL holds it: passed through untouched (numbers keep their digits, nesting has PostgreSQL's bounds), its
//! fields read in place.
//!
//! Protocol: a `Jsonb` borrows from memory of the running call; it is not kept beyond it. Its bytes are read as jsonb.h of PostgreSQL says, the
//! same from 9.4 on (pg_upgrade carries them along): a call into PostgreSQL for each field would cost several times as much.

use std::cmp::Ordering;
use std::marker::PhantomData;

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::{FromDatum, IntoDatum};

/// A jsonb value of the running call, detoasted.
#[derive(Clone, Copy)]
pub struct Jsonb<'a> {
    varlena: *mut pg_sys::varlena,
    call: PhantomData<&'a ()>,
}

/// A field of an object, or an element of an array.
pub enum Value<'a> {
    Null,
    Bool,
    /// The number's digits, as jsonb prints them.
    Number(String),
    Text(&'a str),
    Nested(Container<'a>),
}

/// A field's value as PostgreSQL holds it, to be looked into or handed to a `Builder`.
#[derive(Clone, Copy)]
pub struct Raw<'a> {
    pub(super) value: pg_sys::JsonbValue,
    call: PhantomData<&'a ()>,
}

/// An object or an array inside a jsonb.
#[derive(Clone, Copy)]
pub struct Container<'a> {
    data: *mut pg_sys::JsonbContainer,
    bytes: usize,
    call: PhantomData<&'a ()>,
}

impl<'a> Jsonb<'a> {
    /// # Safety
    /// `varlena` is a jsonb, not toasted, in memory of the running call.
    pub(super) unsafe fn new(varlena: *mut pg_sys::varlena) -> Self {
        Self {
            varlena,
            call: PhantomData,
        }
    }

    /// {}
    pub fn empty_object() -> Self {
        /// A varlena with a 4-byte header and an object's header without fields.
        static EMPTY: [u32; 2] = [
            if cfg!(target_endian = "little") { 8 << 2 } else { 8 },
            pg_sys::JB_FOBJECT,
        ];
        Self {
            varlena: (&raw const EMPTY).cast_mut().cast(),
            call: PhantomData,
        }
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> usize {
        // SAFETY: a detoasted varlena.
        unsafe { pgrx::varsize_any_exhdr(self.varlena) }
    }

    /// A copy in memory of the running call: it borrows from nothing that goes before.
    pub fn copied<'b>(self) -> Jsonb<'b> {
        let copy = self.root().to_jsonb();
        Jsonb {
            varlena: copy.varlena,
            call: PhantomData,
        }
    }

    /// As JSON.
    pub fn to_text(self) -> String {
        // SAFETY: a detoasted jsonb; the answer is palloc'd and NUL-terminated.
        unsafe {
            let text = pg_sys::JsonbToCString(
                std::ptr::null_mut(),
                &raw mut (*self.varlena.cast::<pg_sys::Jsonb>()).root,
                self.bytes() as i32,
            );
            let copy = super::call::utf8(std::ffi::CStr::from_ptr(text).to_bytes()).to_owned();
            pg_sys::pfree(text.cast());
            copy
        }
    }

    /// From JSON that to_text() has written, in the current memory context.
    pub fn parse(text: &str) -> Self {
        let text = std::ffi::CString::new(text).expect("JSON has no NUL");
        // SAFETY: jsonb_in takes a NUL-terminated text, and gives a jsonb or raises.
        let datum = unsafe {
            pgrx::direct_function_call_as_datum(pg_sys::jsonb_in, &[Some(pg_sys::Datum::from(text.as_ptr()))])
        };
        // SAFETY: as above.
        unsafe { Self::new(datum.expect("jsonb_in gives a value").cast_mut_ptr()) }
    }

    pub fn root(&self) -> Container<'a> {
        // SAFETY: a detoasted jsonb starts with its 4-byte header, then the root.
        let data = unsafe { &raw mut (*self.varlena.cast::<pg_sys::Jsonb>()).root };
        Container {
            data,
            bytes: self.bytes(),
            call: PhantomData,
        }
    }

    /// What it is, for error messages.
    pub fn kind(&self) -> &'static str {
        let root = self.root();
        if root.is_object() {
            "an object"
        } else if root.is_scalar() {
            "a scalar"
        } else {
            "an array"
        }
    }
}

impl<'a> Container<'a> {
    fn header(&self) -> u32 {
        // SAFETY: points to a container.
        unsafe { (*self.data).header }
    }

    pub fn is_object(&self) -> bool {
        self.header() & pg_sys::JB_FOBJECT != 0
    }

    pub fn is_array(&self) -> bool {
        self.header() & pg_sys::JB_FARRAY != 0 && !self.is_scalar()
    }

    fn is_scalar(&self) -> bool {
        self.header() & pg_sys::JB_FSCALAR != 0
    }

    /// How many fields or elements.
    pub fn len(&self) -> usize {
        (self.header() & pg_sys::JB_CMASK) as usize
    }

    /// The object's field; None where there is none, or this is no object.
    pub fn field(&self, name: &str) -> Option<Value<'a>> {
        self.raw_field(name).map(|raw| raw.read())
    }

    /// The same, as PostgreSQL holds it.
    pub fn raw_field(&self, name: &str) -> Option<Raw<'a>> {
        if !self.is_object() {
            return None;
        }
        let order = |i: usize| {
            let key = self.bytes_of(self.start(i), self.entry(i));
            // jsonb's own order: shorter keys first.
            key.len().cmp(&name.len()).then_with(|| key.cmp(name.as_bytes()))
        };
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match order(middle) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => {
                    let i = self.len() + middle;
                    return Some(self.child(self.start(i), self.entry(i)));
                }
            }
        }
        None
    }

    /// The object's fields in jsonb's own order; none where this is no object.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, Raw<'a>)> + use<'a> {
        let container = *self;
        let count = if self.is_object() { self.len() } else { 0 };
        let (mut key_at, mut value_at) = (0, container.start(count));
        (0..count).map(move |i| {
            let (key, value) = (container.entry(i), container.entry(count + i));
            let field = (
                super::call::utf8(container.bytes_of(key_at, key)),
                container.child(value_at, value),
            );
            (key_at, value_at) = (end(key_at, key), end(value_at, value));
            field
        })
    }

    /// The array's elements.
    pub fn elements(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let container = *self;
        let count = if self.is_array() { self.len() } else { 0 };
        let mut at = 0;
        (0..count).map(move |i| {
            let entry = container.entry(i);
            let element = container.child(at, entry).read();
            at = end(at, entry);
            element
        })
    }

    /// What the container says of its child: an object has its keys first, then its values.
    fn entry(&self, i: usize) -> u32 {
        // SAFETY: callers ask for children that there are; a container is aligned to its entries.
        unsafe { *(&raw const (*self.data).children).cast::<u32>().add(i) }
    }

    /// Where the child begins, in bytes after the entries: every so many of these say where they end, the others how long they are.
    fn start(&self, i: usize) -> usize {
        let mut start = 0;
        for before in (0..i).rev() {
            let entry = self.entry(before);
            start += (entry & pg_sys::JENTRY_OFFLENMASK) as usize;
            if entry & pg_sys::JENTRY_HAS_OFF != 0 {
                break;
            }
        }
        start
    }

    /// The child's bytes, from where it begins.
    fn bytes_of(&self, at: usize, entry: u32) -> &'a [u8] {
        let entries = self.len() * if self.is_object() { 2 } else { 1 };
        // SAFETY: the children's bytes follow the entries, and live as long as the call.
        unsafe {
            let children = (&raw const (*self.data).children)
                .cast::<u32>()
                .add(entries)
                .cast::<u8>();
            std::slice::from_raw_parts(children.add(at), end(at, entry) - at)
        }
    }

    fn child(&self, at: usize, entry: u32) -> Raw<'a> {
        use pg_sys::jbvType;
        let bytes = self.bytes_of(at, entry);
        // A number and a container begin where an int may.
        let aligned = &bytes[(at.next_multiple_of(4) - at).min(bytes.len())..];
        // SAFETY: all zero is jbvNull.
        let mut value: pg_sys::JsonbValue = unsafe { std::mem::zeroed() };
        let kind = entry & pg_sys::JENTRY_TYPEMASK;
        value.type_ = match kind {
            pg_sys::JENTRY_ISNULL => jbvType::jbvNull,
            pg_sys::JENTRY_ISBOOL_TRUE | pg_sys::JENTRY_ISBOOL_FALSE => {
                value.val.boolean = kind == pg_sys::JENTRY_ISBOOL_TRUE;
                jbvType::jbvBool
            }
            pg_sys::JENTRY_ISNUMERIC => {
                value.val.numeric = aligned.as_ptr().cast_mut().cast();
                jbvType::jbvNumeric
            }
            pg_sys::JENTRY_ISCONTAINER => {
                value.val.binary.data = aligned.as_ptr().cast_mut().cast();
                value.val.binary.len = aligned.len() as i32;
                jbvType::jbvBinary
            }
            _ => {
                value.val.string.val = bytes.as_ptr().cast_mut().cast();
                value.val.string.len = bytes.len() as i32;
                jbvType::jbvString
            }
        };
        Raw {
            value,
            call: PhantomData,
        }
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A jsonb of its own, copied into the current memory context.
    pub fn to_jsonb(self) -> Jsonb<'a> {
        // SAFETY: a container's bytes are a jsonb's body: a 4-byte varlena header goes in front.
        unsafe {
            let size = self.bytes + 4;
            let varlena = pg_sys::palloc(size).cast::<pg_sys::varlena>();
            pgrx::set_varsize_4b(varlena, size as i32);
            std::ptr::copy_nonoverlapping(self.data.cast::<u8>(), varlena.cast::<u8>().add(4), self.bytes);
            Jsonb {
                varlena,
                call: PhantomData,
            }
        }
    }
}

/// Where a child ends that begins there.
fn end(at: usize, entry: u32) -> usize {
    let number = (entry & pg_sys::JENTRY_OFFLENMASK) as usize;
    if entry & pg_sys::JENTRY_HAS_OFF != 0 {
        number
    } else {
        at + number
    }
}

impl<'a> Raw<'a> {
    pub fn read(&self) -> Value<'a> {
        // SAFETY: filled by a function of jsonb, from memory of the running call.
        unsafe { Value::read(&self.value) }
    }
}

impl<'a> Value<'a> {
    /// # Safety
    /// `value` was filled by a function of jsonb from memory that lives as long as the call.
    unsafe fn read(value: &pg_sys::JsonbValue) -> Self {
        use pg_sys::jbvType;
        // SAFETY: the type says which field of the union is set.
        unsafe {
            match value.type_ {
                jbvType::jbvNull => Self::Null,
                jbvType::jbvBool => Self::Bool,
                jbvType::jbvString => {
                    let string = value.val.string;
                    let bytes = std::slice::from_raw_parts(string.val.cast::<u8>(), string.len as usize);
                    Self::Text(super::call::utf8(bytes))
                }
                jbvType::jbvNumeric => {
                    let digits = pgrx::direct_function_call::<&std::ffi::CStr>(
                        pg_sys::numeric_out,
                        &[Some(pg_sys::Datum::from(value.val.numeric))],
                    );
                    Self::Number(digits.unwrap_or_default().to_string_lossy().into_owned())
                }
                _ => {
                    let binary = value.val.binary;
                    Self::Nested(Container {
                        data: binary.data,
                        bytes: binary.len as usize,
                        call: PhantomData,
                    })
                }
            }
        }
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::Nested(c) if c.is_object() => "an object",
            Self::Nested(_) => "an array",
        }
    }
}

impl FromDatum for Jsonb<'_> {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _: pg_sys::Oid) -> Option<Self> {
        // SAFETY: a jsonb datum, as the caller promises.
        (!is_null).then(|| Self {
            varlena: unsafe { pg_sys::pg_detoast_datum(datum.cast_mut_ptr()) },
            call: PhantomData,
        })
    }
}

impl IntoDatum for Jsonb<'_> {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        Some(pg_sys::Datum::from(self.varlena))
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::JSONBOID
    }
}

// SAFETY: from_datum reads the argument as what SQL declares it, jsonb.
unsafe impl<'fcx> ArgAbi<'fcx> for Jsonb<'fcx> {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: as above; an argument that may be NULL is declared Option.
        unsafe { arg.unbox_arg_using_from_datum() }.expect("not NULL")
    }

    unsafe fn unbox_nullable_arg(arg: Arg<'_, 'fcx>) -> pgrx::nullable::Nullable<Self> {
        // SAFETY: as above.
        unsafe { arg.unbox_arg_using_from_datum().into() }
    }
}

// SAFETY: boxes a pointer datum.
unsafe impl BoxRet for Jsonb<'_> {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> pgrx::datum::Datum<'fcx> {
        // SAFETY: the varlena lives in the calling memory context.
        unsafe { fcinfo.return_raw_datum(pg_sys::Datum::from(self.varlena)) }
    }
}

// SAFETY: the SQL type is jsonb.
unsafe impl SqlTranslatable for Jsonb<'_> {
    const TYPE_IDENT: &'static str = "jsonb";
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("jsonb"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> = Ok(ReturnsRef::One(SqlMappingRef::literal("jsonb")));
}
