//! One element of a data set: how its header is encoded (PS3.5 §7.1).

use super::Malformed;

pub(super) type Tag = (u16, u16);

pub(super) const ITEM: Tag = (0xFFFE, 0xE000);
pub(super) const ITEM_DELIMITATION: Tag = (0xFFFE, 0xE00D);
pub(super) const SEQUENCE_DELIMITATION: Tag = (0xFFFE, 0xE0DD);

pub(super) const UNDEFINED: u32 = u32::MAX;
pub(super) const HEADER_BYTES_MAX: usize = 12;

/// How elements are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    ImplicitLittle,
    ExplicitLittle,
    ExplicitBig,
}

impl Encoding {
    /// The UID of the plain syntax with this encoding.
    pub(crate) fn transfer_syntax(self) -> &'static str {
        match self {
            Self::ImplicitLittle => "1.2.840.10008.1.2",
            Self::ExplicitLittle => "1.2.840.10008.1.2.1",
            Self::ExplicitBig => "1.2.840.10008.1.2.2",
        }
    }

    fn u16(self, bytes: &[u8]) -> u16 {
        let bytes = [bytes[0], bytes[1]];
        if self == Self::ExplicitBig { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    fn u32(self, bytes: &[u8]) -> u32 {
        let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if self == Self::ExplicitBig { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
}

/// What stands before a value.
pub(super) struct Header {
    pub(super) tag: Tag,
    pub(super) vr: Option<[u8; 2]>,
    pub(super) length: u32,
    pub(super) bytes: usize,
}

/// Float, Double Float and Pixel Data (PS3.3 §C.7.6.24).
pub(super) fn is_pixel_data((group, element): Tag) -> bool {
    group == 0x7FE0 && element >= 0x0008
}

/// Reads the header of one element, item or delimiter; `None` when `bytes` ends within it.
pub(super) fn read_header(bytes: &[u8], encoding: Encoding) -> Result<Option<Header>, Malformed> {
    if bytes.len() < 8 {
        return Ok(None);
    }
    let tag = (encoding.u16(bytes), encoding.u16(&bytes[2..]));
    if encoding == Encoding::ImplicitLittle || tag.0 == 0xFFFE {
        return Ok(Some(Header { tag, vr: None, length: encoding.u32(&bytes[4..]), bytes: 8 }));
    }
    let vr = [bytes[4], bytes[5]];
    match &vr {
        b"AE" | b"AS" | b"AT" | b"CS" | b"DA" | b"DS" | b"DT" | b"FD" | b"FL" | b"IS" | b"LO" | b"LT"
        | b"PN" | b"SH" | b"SL" | b"SS" | b"ST" | b"TM" | b"UI" | b"UL" | b"US" => {
            Ok(Some(Header { tag, vr: Some(vr), length: u32::from(encoding.u16(&bytes[6..])), bytes: 8 }))
        }
        // PS3.5 §6.2: every other value representation, future ones too, has a 32-bit length after two reserved bytes.
        _ if vr.iter().all(u8::is_ascii_uppercase) => Ok((bytes.len() >= HEADER_BYTES_MAX).then(|| Header {
            tag,
            vr: Some(vr),
            length: encoding.u32(&bytes[8..]),
            bytes: HEADER_BYTES_MAX,
        })),
        _ => Err(Malformed::ValueRepresentation(tag.0, tag.1)),
    }
}
