//! jsonb as PostgreSQL holds it: passed through untouched (numbers keep their digits, nesting has PostgreSQL's bounds), its
//! fields read in place.
//!
//! Protocol: a `Jsonb` borrows from memory of the running call; it is not kept beyond it.

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
        let mut value = std::mem::MaybeUninit::<pg_sys::JsonbValue>::zeroed();
        // SAFETY: an object; the function fills `value` or returns NULL.
        unsafe {
            let found = pg_sys::getKeyJsonValueFromContainer(
                self.data,
                name.as_ptr().cast(),
                name.len() as i32,
                value.as_mut_ptr(),
            );
            (!found.is_null()).then(|| Raw {
                value: *found,
                call: PhantomData,
            })
        }
    }

    /// The object's fields in jsonb's own order; none where this is no object.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, Raw<'a>)> + use<'a> {
        use pg_sys::JsonbIteratorToken::*;
        let mut value = std::mem::MaybeUninit::<pg_sys::JsonbValue>::zeroed();
        let mut iterator = std::ptr::null_mut();
        if self.is_object() {
            // SAFETY: an object; the first token is its beginning.
            unsafe {
                iterator = pg_sys::JsonbIteratorInit(self.data);
                pg_sys::JsonbIteratorNext(&mut iterator, value.as_mut_ptr(), false);
            }
        }
        std::iter::from_fn(move || {
            if iterator.is_null() {
                return None;
            }
            // SAFETY: tokens alternate between WJB_KEY and WJB_VALUE (nested ones skipped, as jbvBinary) until
            // WJB_END_OBJECT, after which the iterator is not touched again; keys point into the object.
            unsafe {
                if pg_sys::JsonbIteratorNext(&mut iterator, value.as_mut_ptr(), true) != WJB_KEY {
                    iterator = std::ptr::null_mut();
                    return None;
                }
                let Value::Text(key) = Value::read(value.assume_init_ref()) else {
                    unreachable!("a key is a string")
                };
                pg_sys::JsonbIteratorNext(&mut iterator, value.as_mut_ptr(), true);
                let value = value.assume_init();
                Some((
                    key,
                    Raw {
                        value,
                        call: PhantomData,
                    },
                ))
            }
        })
    }

    /// The array's elements.
    pub fn elements(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let container = *self;
        let count = if self.is_array() { self.len() } else { 0 };
        (0..count).map(move |i| {
            // SAFETY: an array with more than i elements; the function returns a palloc'd value.
            unsafe {
                let value = pg_sys::getIthJsonbValueFromContainer(container.data, i as u32);
                let read = Value::read(&*value);
                pg_sys::pfree(value.cast());
                read
            }
        })
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
