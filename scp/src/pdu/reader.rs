//! Big-endian fields out of a slice that may end anywhere.

use super::BadPdu;

#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'bytes>(pub(super) &'bytes [u8]);

impl<'bytes> Reader<'bytes> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'bytes [u8], BadPdu> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(BadPdu::Cut)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, BadPdu> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, BadPdu> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    pub(super) fn u32(&mut self) -> Result<u32, BadPdu> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// A field with a 16-bit length before it.
    pub(super) fn field(&mut self) -> Result<&'bytes [u8], BadPdu> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// An item or sub-item: type, reserved byte, 16-bit length, content.
    pub(super) fn item(&mut self) -> Result<(u8, Reader<'bytes>), BadPdu> {
        let kind = self.u8()?;
        self.u8()?;
        Ok((kind, Reader(self.field()?)))
    }

    /// The rest as a UID or name: printable ASCII, padding dropped.
    pub(super) fn text(self) -> Result<String, BadPdu> {
        text(self.0)
    }
}

pub(super) fn text(bytes: &[u8]) -> Result<String, BadPdu> {
    let text = std::str::from_utf8(bytes).map_err(|_| BadPdu::Text)?.trim_matches([' ', '\0']);
    if text.bytes().all(|byte| (0x20..0x7F).contains(&byte)) {
        Ok(text.to_owned())
    } else {
        Err(BadPdu::Text)
    }
}
