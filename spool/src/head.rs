//! The head of a data set as it streams by: four UIDs at once, all header facts on request.

use flate2::{Decompress, FlushDecompress, Status};
use imaging::{Header, Uid};

use crate::{
    outcome::Fault,
    scan::{Encoding, Malformed, Scanner},
};

const IMPLICIT_VR_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2";
const DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1.99";
const JPIP_REFERENCED_DEFLATE: &str = "1.2.840.10008.1.2.4.95";
const JPIP_HTJ2K_REFERENCED_DEFLATE: &str = "1.2.840.10008.1.2.4.205";
const EXPLICIT_VR_BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
/// GE's private syntax: as Implicit VR Little Endian but for the pixel data.
const GE_PRIVATE_IMPLICIT: &str = "1.2.840.113619.5.2";

/// How much a deflated data set may inflate to before its pixel data begins.
const INFLATED_BYTES_MAX: u64 = 64 << 20;

/// Follows one data set. Deflated ones are inflated up to their pixel data only, so what
/// comes after it is kept without having been walked.
#[derive(Debug)]
pub(crate) struct Head {
    scanner: Scanner,
    inflater: Option<Inflater>,
    malformed: Option<Malformed>,
    /// Read as soon as the pixel data begins: while the pixels come, not when the sender waits.
    facts: Option<Result<Header, Fault>>,
    transfer_syntax: Uid,
}

impl Head {
    pub(crate) fn new(transfer_syntax: &Uid) -> Self {
        let (encoding, deflated) = match transfer_syntax.as_str() {
            IMPLICIT_VR_LITTLE_ENDIAN | GE_PRIVATE_IMPLICIT => (Encoding::ImplicitLittle, false),
            EXPLICIT_VR_BIG_ENDIAN => (Encoding::ExplicitBig, false),
            DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN | JPIP_REFERENCED_DEFLATE | JPIP_HTJ2K_REFERENCED_DEFLATE => {
                (Encoding::ExplicitLittle, true)
            }
            // PS3.5 §A.4: every encapsulated syntax is Explicit VR Little Endian.
            _ => (Encoding::ExplicitLittle, false),
        };
        Self {
            scanner: Scanner::new(encoding),
            inflater: deflated.then(Inflater::new),
            malformed: None,
            facts: None,
            transfer_syntax: transfer_syntax.clone(),
        }
    }

    /// Takes the next bytes. What is wrong with them is told by [`Head::facts`]: the data set
    /// is received to its end all the same.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.malformed.is_some() {
            return;
        }
        let had_head = self.scanner.head_is_whole();
        let walked = match &mut self.inflater {
            Some(inflater) => inflater.push(bytes, &mut self.scanner),
            None => self.scanner.push(bytes),
        };
        self.malformed = walked.err();
        if !had_head && self.scanner.head_is_whole() && self.malformed.is_none() {
            self.facts = Some(self.read_facts());
        }
    }

    pub(crate) fn sop_class(&self) -> Option<&str> {
        self.scanner.sop_class()
    }

    pub(crate) fn sop_instance(&self) -> Option<&str> {
        self.scanner.sop_instance()
    }

    /// True when nothing that follows belongs to the head.
    pub(crate) fn is_whole(&self) -> bool {
        self.scanner.head_is_whole() || self.malformed.is_some()
    }

    /// The header facts of a data set that has come to its end.
    ///
    /// # Errors
    /// When it is no data set, is cut, or lacks what every instance must have.
    pub(crate) fn facts(&mut self) -> Result<Header, Fault> {
        let stopped_at_pixel_data = self.inflater.is_some() && self.scanner.head_is_whole();
        if self.malformed.is_none() && !stopped_at_pixel_data {
            self.scanner.finish()?;
        }
        self.facts_so_far()
    }

    /// The header facts of what has come, whatever may follow.
    pub(crate) fn facts_so_far(&mut self) -> Result<Header, Fault> {
        if let Some(malformed) = self.malformed {
            return Err(malformed.into());
        }
        self.facts.take().unwrap_or_else(|| self.read_facts())
    }

    fn read_facts(&self) -> Result<Header, Fault> {
        for (name, value) in [
            ("SOP Class UID (0008,0016)", self.scanner.sop_class()),
            ("SOP Instance UID (0008,0018)", self.scanner.sop_instance()),
            ("Study Instance UID (0020,000D)", self.scanner.study()),
            ("Series Instance UID (0020,000E)", self.scanner.series()),
        ] {
            if value.is_none() {
                return Err(Fault::Missing(name));
            }
        }
        let mut header = Header::from_front(self.scanner.head(), self.scanner.encoding().transfer_syntax())
            .map_err(|error| Fault::Unreadable(error.to_string()))?;
        header.transfer_syntax = self.transfer_syntax.clone();
        Ok(header)
    }
}

#[derive(Debug)]
struct Inflater {
    raw: Decompress,
    inflated_bytes: u64,
    ended: bool,
}

impl Inflater {
    fn new() -> Self {
        // PS3.5 §A.5: RFC 1951, so without the zlib wrapper.
        Self { raw: Decompress::new(false), inflated_bytes: 0, ended: false }
    }

    fn push(&mut self, mut bytes: &[u8], scanner: &mut Scanner) -> Result<(), Malformed> {
        let mut out = [0; 16 << 10];
        while !self.ended && !scanner.head_is_whole() {
            let (in_before, out_before) = (self.raw.total_in(), self.raw.total_out());
            let status = self
                .raw
                .decompress(bytes, &mut out, FlushDecompress::None)
                .map_err(|_| Malformed::Deflate)?;
            let consumed = usize::try_from(self.raw.total_in() - in_before).expect("no more than was given");
            let produced =
                usize::try_from(self.raw.total_out() - out_before).expect("no more than there is room");
            bytes = &bytes[consumed..];
            self.inflated_bytes += produced as u64;
            if self.inflated_bytes > INFLATED_BYTES_MAX {
                return Err(Malformed::Inflated);
            }
            scanner.push(&out[..produced])?;
            self.ended = status == Status::StreamEnd;
            if consumed == 0 && produced == 0 {
                break;
            }
        }
        Ok(())
    }
}
