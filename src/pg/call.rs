//! Functions that SQL calls through the bare calling convention, where a few nanoseconds count (the resolver, the context
//! in every policy). Everything else uses `#[pg_extern]`.

use pgrx::{FromDatum, IntoDatum, pg_sys};

use crate::error::Error;

/// One call: its arguments and how to answer. Made by `raw_function!` only.
#[derive(Clone, Copy)]
pub struct Call(pg_sys::FunctionCallInfo);

/// Text that outlives the transaction that reads it: a varlena with its header, in words.
#[derive(Debug, Default)]
pub struct StaticText(Vec<u32>);

impl StaticText {
    pub fn new(text: &str) -> Self {
        Self::from_bytes(text.as_bytes())
    }

    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut words = vec![0u32; 1 + bytes.len().div_ceil(4)];
        // The 4-byte header of an uncompressed varlena: its whole length, shifted where the machine is little-endian.
        let length = (bytes.len() + 4) as u32;
        words[0] = if cfg!(target_endian = "little") {
            length << 2
        } else {
            length
        };
        for (i, byte) in bytes.iter().enumerate() {
            let mut word = words[1 + i / 4].to_ne_bytes();
            word[i % 4] = *byte;
            words[1 + i / 4] = u32::from_ne_bytes(word);
        }
        Self(words)
    }
}

impl StaticText {
    /// Its address, for who keeps it alive.
    pub(super) fn datum(&self) -> pg_sys::Datum {
        pg_sys::Datum::from(self.0.as_ptr())
    }
}

impl Call {
    /// # Safety
    /// `info` is what PostgreSQL passes to a version-1 function.
    pub unsafe fn new(info: pg_sys::FunctionCallInfo) -> Self {
        Self(info)
    }

    /// The node that a caller like the trigger manager passes along.
    pub fn context(&self) -> *mut pg_sys::Node {
        // SAFETY: the call's own struct.
        unsafe { (*self.0).context }
    }

    /// The call, for what else in pg/ answers it.
    pub(super) fn info(&self) -> pg_sys::FunctionCallInfo {
        self.0
    }

    /// The text argument's bytes; None where it is NULL. They live as long as the call.
    pub fn text(&self, argument: usize) -> Option<&[u8]> {
        // SAFETY: the function is declared with a text argument at this place, which lives as long as the call.
        unsafe {
            let argument = (*self.0).args.as_slice(argument + 1)[argument];
            if argument.isnull {
                return None;
            }
            Some(varlena(argument.value))
        }
    }

    /// An argument of another type, as SQL declares it; None where it is NULL.
    pub fn argument<T: FromDatum>(&self, argument: usize) -> Option<T> {
        // SAFETY: the function is declared with an argument of this type at this place.
        unsafe {
            let argument = (*self.0).args.as_slice(argument + 1)[argument];
            T::from_datum(argument.value, argument.isnull)
        }
    }

    /// A uuid argument; None where it is NULL.
    pub fn uuid_argument(&self, argument: usize) -> Option<[u8; 16]> {
        // SAFETY: the function is declared with a uuid argument at this place: a pointer to 16 bytes.
        unsafe {
            let argument = (*self.0).args.as_slice(argument + 1)[argument];
            (!argument.isnull).then(|| *argument.value.cast_mut_ptr::<[u8; 16]>())
        }
    }

    /// Whether the argument is not NULL.
    pub fn is_given(&self, argument: usize) -> bool {
        // SAFETY: the call's own struct.
        unsafe { !(*self.0).args.as_slice(argument + 1)[argument].isnull }
    }

    /// Answers an argument as it came.
    pub fn same(&self, argument: usize) -> pg_sys::Datum {
        // SAFETY: the call's own struct; the function is declared to return the argument's type.
        let argument = unsafe { (*self.0).args.as_slice(argument + 1)[argument] };
        if argument.isnull { self.null() } else { argument.value }
    }

    /// Answers a value of the declared type.
    pub fn value(&self, value: impl IntoDatum) -> pg_sys::Datum {
        value.into_datum().unwrap_or_else(|| self.null())
    }

    /// The text argument as the UTF-8 that it has to be; None where it is NULL.
    pub fn str(&self, argument: usize) -> Option<&str> {
        self.text(argument).map(utf8)
    }

    /// The type of an argument, as the call has it.
    pub fn argument_type(&self, argument: usize) -> pg_sys::Oid {
        // SAFETY: the call's own struct; a function that SQL calls knows its expression.
        unsafe { pg_sys::get_fn_expr_argtype((*self.0).flinfo, argument as i32) }
    }

    /// Answers void.
    pub fn nothing(&self) -> pg_sys::Datum {
        pg_sys::Datum::null()
    }

    /// Answers NULL.
    pub fn null(&self) -> pg_sys::Datum {
        // SAFETY: the call's own struct.
        unsafe { (*self.0).isnull = true };
        pg_sys::Datum::null()
    }

    /// Answers a UUID, copied into the current memory context.
    pub fn uuid(&self, uuid: [u8; 16]) -> pg_sys::Datum {
        // SAFETY: 16 fresh bytes.
        unsafe {
            let copy = pg_sys::palloc(16).cast::<[u8; 16]>();
            *copy = uuid;
            pg_sys::Datum::from(copy)
        }
    }

    /// Answers a UUID that stays where it is until the transaction ends.
    pub fn uuid_in_place(&self, uuid: Option<&'static [u8; 16]>) -> pg_sys::Datum {
        uuid.map_or_else(|| self.null(), |uuid| pg_sys::Datum::from(uuid.as_ptr()))
    }

    /// Answers a text that stays where it is until the transaction ends.
    pub fn text_in_place(&self, text: Option<&'static StaticText>) -> pg_sys::Datum {
        text.map_or_else(|| self.null(), |text| pg_sys::Datum::from(text.0.as_ptr()))
    }

    /// Answers a row of the function's declared type.
    pub fn row<const N: usize>(&self, values: [Option<pg_sys::Datum>; N]) -> pg_sys::Datum {
        // SAFETY: the descriptor is looked up once per FmgrInfo and kept in its own memory context; the values have the
        // declared types.
        unsafe {
            let function = (*self.0).flinfo;
            if (*function).fn_extra.is_null() {
                let mut descriptor = std::ptr::null_mut();
                let class = pg_sys::get_call_result_type(self.0, std::ptr::null_mut(), &mut descriptor);
                assert!(
                    class == pg_sys::TypeFuncClass::TYPEFUNC_COMPOSITE,
                    "declared to return a row"
                );
                let before = pg_sys::MemoryContextSwitchTo((*function).fn_mcxt);
                (*function).fn_extra = pg_sys::BlessTupleDesc(pg_sys::CreateTupleDescCopy(descriptor)).cast();
                pg_sys::MemoryContextSwitchTo(before);
            }
            let descriptor: pg_sys::TupleDesc = (*function).fn_extra.cast();
            let mut datums = values.map(|value| value.unwrap_or(pg_sys::Datum::null()));
            let mut nulls = values.map(|value| value.is_none());
            let tuple = pg_sys::heap_form_tuple(descriptor, datums.as_mut_ptr(), nulls.as_mut_ptr());
            pg_sys::Datum::from((*tuple).t_data)
        }
    }
}

/// Defines a version-1 function `$name` (and its info function) that answers with `$body`, a `fn(Call) -> Datum`.
#[macro_export]
macro_rules! raw_function {
    ($name:ident, $info:ident, $body:expr) => {
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub extern "C" fn $info() -> &'static pgrx::pg_sys::Pg_finfo_record {
            static INFO: pgrx::pg_sys::Pg_finfo_record = pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
            &INFO
        }

        #[doc(hidden)]
        #[unsafe(no_mangle)]
        #[pgrx::pg_guard]
        pub extern "C-unwind" fn $name(info: pgrx::pg_sys::FunctionCallInfo) -> pgrx::pg_sys::Datum {
            $crate::pg::call::answer(info, $body)
        }
    };
}

/// What a varlena holds, fetched and decompressed where it has to be.
///
/// # Safety
/// The datum is that of a varlena. The answer lives as long as that, or, where it had to be made, as the current memory context.
pub(super) unsafe fn varlena<'a>(datum: pg_sys::Datum) -> &'a [u8] {
    // SAFETY: as the caller promises; packed headers are read as such.
    unsafe {
        let stored = datum.cast_mut_ptr::<pg_sys::varlena>();
        let is_plain = pgrx::varatt_is_4b_u(stored) || (pgrx::varatt_is_1b(stored) && !pgrx::varatt_is_1b_e(stored));
        let plain = if is_plain {
            stored
        } else {
            pg_sys::pg_detoast_datum_packed(stored)
        };
        std::slice::from_raw_parts(pgrx::vardata_any(plain).cast::<u8>(), pgrx::varsize_any_exhdr(plain))
    }
}

/// Text as UTF-8. PostgreSQL has checked it in a UTF8 database; in a SQL_ASCII one nobody has, and what is no UTF-8 is
/// refused (22023), as two texts could look alike.
pub fn utf8(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_else(|_| {
        Error::bad_argument(
            "a text is not UTF-8",
            "This database checks no encoding: have the client send UTF-8.",
        )
        .raise()
    })
}

/// The body of a raw function.
pub fn answer(info: pg_sys::FunctionCallInfo, body: fn(Call) -> pg_sys::Datum) -> pg_sys::Datum {
    // SAFETY: raw_function! is the only caller, with what PostgreSQL passed.
    body(unsafe { Call::new(info) })
}
