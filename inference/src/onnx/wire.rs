//! The wire format of Protocol Buffers: numbered fields, one after another.

use super::Unreadable;

const CUT: Unreadable = Unreadable("it is cut");
const NOT_SO: Unreadable = Unreadable("a field is of another kind than ONNX says");

/// One field's content.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed32([u8; 4]),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
}

/// The fields of a message, until its end or the first that cannot be read.
pub(super) fn fields(bytes: &[u8]) -> Fields<'_> {
    Fields { rest: bytes }
}

#[derive(Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<(u64, Value<'a>), Unreadable> {
        let key = varint(&mut self.rest)?;
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut self.rest)?),
            1 => Value::Fixed64(array(&mut self.rest)?),
            2 => {
                let length = usize::try_from(varint(&mut self.rest)?).map_err(|_| CUT)?;
                Value::Bytes(take(&mut self.rest, length)?)
            }
            5 => Value::Fixed32(array(&mut self.rest)?),
            _ => return Err(Unreadable("it is no Protocol Buffers message")),
        };
        Ok((key >> 3, value))
    }
}

impl<'a> Value<'a> {
    pub(super) fn text(self) -> Result<&'a str, Unreadable> {
        let Self::Bytes(bytes) = self else { return Err(NOT_SO) };
        std::str::from_utf8(bytes).map_err(|_| Unreadable("a name is no text"))
    }

    /// Appends one integer, or a packed run of them.
    pub(super) fn integers(self, to: &mut Vec<i64>) -> Result<(), Unreadable> {
        match self {
            Self::Varint(number) => to.push(number.cast_signed()),
            Self::Bytes(mut run) => {
                while !run.is_empty() {
                    to.push(varint(&mut run)?.cast_signed());
                }
            }
            Self::Fixed32(_) | Self::Fixed64(_) => return Err(NOT_SO),
        }
        Ok(())
    }

    pub(super) fn floats(self, to: &mut Vec<f32>) -> Result<(), Unreadable> {
        match self {
            Self::Fixed32(bytes) => to.push(f32::from_le_bytes(bytes)),
            Self::Bytes(run) => to.extend(super::each(run, f32::from_le_bytes)?),
            Self::Varint(_) | Self::Fixed64(_) => return Err(NOT_SO),
        }
        Ok(())
    }

    pub(super) fn doubles(self, to: &mut Vec<f64>) -> Result<(), Unreadable> {
        match self {
            Self::Fixed64(bytes) => to.push(f64::from_le_bytes(bytes)),
            Self::Bytes(run) => to.extend(super::each(run, f64::from_le_bytes)?),
            Self::Varint(_) | Self::Fixed32(_) => return Err(NOT_SO),
        }
        Ok(())
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Unreadable> {
    let (taken, left) = rest.split_at_checked(length).ok_or(CUT)?;
    *rest = left;
    Ok(taken)
}

fn array<const SIZE: usize>(rest: &mut &[u8]) -> Result<[u8; SIZE], Unreadable> {
    let (taken, left) = rest.split_first_chunk().ok_or(CUT)?;
    *rest = left;
    Ok(*taken)
}

/// Seven bits a byte, the lowest first; ten bytes at most.
fn varint(rest: &mut &[u8]) -> Result<u64, Unreadable> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = array(rest)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Unreadable("a number has no end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<(u64, Value<'_>)>, Unreadable> {
        fields(bytes).collect()
    }

    #[test]
    fn fields_are_numbered_and_of_four_kinds() {
        let bytes = [0x08, 0x96, 0x01, 0x12, 2, b'o', b'k', 0x1d, 0, 0, 0x80, 0x3f];
        let expected =
            [(1, Value::Varint(150)), (2, Value::Bytes(b"ok")), (3, Value::Fixed32(1.0_f32.to_le_bytes()))];
        assert_eq!(read(&bytes).unwrap(), expected);
    }

    #[test]
    fn what_is_cut_or_endless_is_refused() {
        assert_eq!(read(&[0x12, 5, 1]), Err(CUT));
        assert_eq!(read(&[0x09, 0, 0]), Err(CUT));
        assert_eq!(read(&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), Err(CUT));
        assert_eq!(read(&[0xff; 12]), Err(Unreadable("a number has no end")));
        assert_eq!(read(&[0x0b]), Err(Unreadable("it is no Protocol Buffers message")));
    }

    #[test]
    fn runs_are_read_packed_and_one_by_one() {
        let mut numbers = Vec::new();
        Value::Bytes(&[1, 0x80, 0x01]).integers(&mut numbers).unwrap();
        Value::Varint(u64::MAX).integers(&mut numbers).unwrap();
        assert_eq!(numbers, [1, 128, -1]);
        assert_eq!(Value::Fixed32([0; 4]).integers(&mut numbers), Err(NOT_SO));
    }
}
