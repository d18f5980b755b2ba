//! pgvector's vectors, read in place, and arrays of them handed back.
//!
//! Protocol: a `Vector` borrows from memory of the running call. The type has no fixed OID and stands in any schema: what it is, the
//! arguments themselves say.

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::datum::{Datum, DatumWithOid};
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::{FromDatum, pg_sys};

use super::call::StaticText;

/// A vector of the running call, detoasted.
#[derive(Clone, Copy)]
pub struct Vector<'a> {
    varlena: *mut pg_sys::varlena,
    numbers: &'a [f32],
}

impl<'a> Vector<'a> {
    pub fn numbers(&self) -> &'a [f32] {
        self.numbers
    }
}

/// In front of the numbers: how many (16 bits), and 16 bits unused.
const HEAD: usize = 4;

/// The numbers of a vector, from what stands behind its varlena header. None where it is no vector.
pub fn numbers(bytes: &[u8]) -> Option<&[f32]> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let count = usize::from(u16::from_ne_bytes([head[0], head[1]]));
    // SAFETY: any four bytes are a float; what is not aligned is left out, and refused.
    let (before, numbers, after) = unsafe { rest.align_to::<f32>() };
    (before.is_empty() && after.is_empty() && numbers.len() == count).then_some(numbers)
}

/// How an index holds vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// vector
    Whole,
    /// halfvec: 16 bits per number.
    Half,
    /// bit: whether each number is above zero.
    Binary,
}

/// A vector in the form that an index holds, to search it with.
pub struct Sought(StaticText);

impl Sought {
    pub fn new(form: Form, numbers: &[f32]) -> Self {
        let mut bytes = Vec::with_capacity(HEAD + 4 * numbers.len());
        match form {
            Form::Whole | Form::Half => {
                bytes.extend((numbers.len() as u16).to_ne_bytes());
                bytes.extend([0, 0]);
                for number in numbers {
                    match form {
                        Form::Half => bytes.extend(half(*number).to_ne_bytes()),
                        _ => bytes.extend(number.to_ne_bytes()),
                    }
                }
            }
            Form::Binary => {
                bytes.extend((numbers.len() as i32).to_ne_bytes());
                bytes.extend(numbers.chunks(8).map(|eight| {
                    let bit = |(i, number): (usize, &f32)| u8::from(*number > 0.0) << (7 - i);
                    eight.iter().enumerate().map(bit).sum::<u8>()
                }));
            }
        }
        Self(StaticText::from_bytes(&bytes))
    }

    pub(super) fn datum(&self) -> pg_sys::Datum {
        self.0.datum()
    }
}

/// A number in 16 bits (IEEE 754 binary16), cut toward zero; what is too great becomes the greatest.
fn half(number: f32) -> u16 {
    const GREATEST: u16 = 0x7bff;
    let bits = number.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let (exponent, fraction) = (((bits >> 23) & 0xff) as i32 - 112, bits & 0x7f_ffff);
    sign | match exponent {
        31.. => GREATEST,
        1..31 => ((exponent as u16) << 10) | (fraction >> 13) as u16,
        -10..1 => ((fraction | 0x80_0000) >> (14 - exponent)) as u16,
        _ => 0,
    }
}

impl FromDatum for Vector<'_> {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _: pg_sys::Oid) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: a vector's datum, as the caller promises; detoasted it has its 4-byte header and is aligned.
        unsafe {
            let varlena = pg_sys::pg_detoast_datum(datum.cast_mut_ptr());
            let bytes = std::slice::from_raw_parts(
                pgrx::vardata_any(varlena).cast::<u8>(),
                pgrx::varsize_any_exhdr(varlena),
            );
            let numbers = numbers(bytes).expect("pgvector's layout of a vector");
            Some(Self { varlena, numbers })
        }
    }
}

// SAFETY: from_datum reads the argument as what SQL declares it, a vector.
unsafe impl<'fcx> ArgAbi<'fcx> for Vector<'fcx> {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: as above; an argument that may be NULL is declared Option.
        unsafe { arg.unbox_arg_using_from_datum() }.expect("not NULL")
    }

    unsafe fn unbox_nullable_arg(arg: Arg<'_, 'fcx>) -> pgrx::nullable::Nullable<Self> {
        // SAFETY: as above.
        unsafe { arg.unbox_arg_using_from_datum().into() }
    }
}

// SAFETY: the SQL type is pgvector's.
unsafe impl SqlTranslatable for Vector<'_> {
    const TYPE_IDENT: &'static str = "vector";
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("vector"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> = Ok(ReturnsRef::One(SqlMappingRef::literal("vector")));
}

/// An array of vectors, its elements in order, whatever its dimensions.
pub struct Vectors<'a> {
    pub elements: Vec<Option<Vector<'a>>>,
    element_type: pg_sys::Oid,
}

impl FromDatum for Vectors<'_> {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _: pg_sys::Oid) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: an array's datum, as the caller promises; its elements are of the type that it names, a varlena that
        // is aligned to integers.
        unsafe {
            let array = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
            let element_type = (*array).elemtype;
            let (mut datums, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
            pg_sys::deconstruct_array(
                array,
                element_type,
                -1,
                false,
                pg_sys::TYPALIGN_INT as std::ffi::c_char,
                &mut datums,
                &mut nulls,
                &mut count,
            );
            let element = |i| Vector::from_datum(*datums.add(i), *nulls.add(i));
            Some(Self {
                elements: (0..count as usize).map(element).collect(),
                element_type,
            })
        }
    }
}

impl Vectors<'_> {
    /// The type of vectors.
    pub fn element_type(&self) -> pg_sys::Oid {
        self.element_type
    }
}

/// An array of vectors of this type, for a statement's parameter, with the array's type.
pub fn array(vectors: &[Vector<'_>], element_type: pg_sys::Oid) -> (DatumWithOid<'static>, pg_sys::Oid) {
    let mut datums: Vec<pg_sys::Datum> = vectors
        .iter()
        .map(|vector| pg_sys::Datum::from(vector.varlena))
        .collect();
    // SAFETY: as many datums as said, of the type named, which construct_array copies.
    unsafe {
        let array_type = pg_sys::get_array_type(element_type);
        let array = pg_sys::construct_array(
            datums.as_mut_ptr(),
            datums.len() as i32,
            element_type,
            -1,
            false,
            pg_sys::TYPALIGN_INT as std::ffi::c_char,
        );
        let datum = std::mem::transmute::<pg_sys::Datum, Datum<'static>>(pg_sys::Datum::from(array));
        (DatumWithOid::new_from_datum(Some(datum), array_type), array_type)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_half_is_what_pgvector_reads() {
        for (number, bits) in [
            (0.0, 0),
            (1.0, 0x3c00),
            (-2.0, 0xc000),
            (0.1, 0x2e66),
            (65504.0, 0x7bff),
            (1e30, 0x7bff),
            (-1e30, 0xfbff),
            (6.103_515_6e-5, 0x0400),
            (5.960_464_5e-8, 0x0001),
            (1e-9, 0),
        ] {
            assert_eq!(super::half(number), bits, "{number}");
        }
    }

    #[test]
    fn what_is_no_vector_is_refused() {
        let words: [u32; 3] = [2u32.to_le(), 1.0f32.to_bits(), (-2.5f32).to_bits()];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        // In a buffer of its own, so that it is aligned.
        let aligned: Vec<f32> = bytes
            .chunks_exact(4)
            .map(|four| f32::from_ne_bytes([four[0], four[1], four[2], four[3]]))
            .collect();
        // SAFETY: floats are bytes.
        let bytes = unsafe { std::slice::from_raw_parts(aligned.as_ptr().cast::<u8>(), 12) };
        assert_eq!(super::numbers(bytes), Some(&[1.0, -2.5][..]));
        assert_eq!(super::numbers(&bytes[..8]), None);
        assert_eq!(super::numbers(&bytes[..2]), None);
    }
}
