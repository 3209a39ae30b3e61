//! Every status that an answer of ours carries, each with its clause; nothing else knows the numbers.

/// The Status (0000,0900) of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u16);

impl Status {
    /// PS3.7 §C.1.1: only when the instance is kept.
    pub const SUCCESS: Self = Self(0x0000);
    /// PS3.7 §C.5.20: a fault of ours.
    pub const PROCESSING_FAILURE: Self = Self(0x0110);
    /// PS3.7 §C.5.21: no such commitment request type.
    pub const NO_SUCH_ACTION: Self = Self(0x0123);
    /// PS3.7 §C.5.13: the SOP Instance UID cannot be one.
    pub const INVALID_SOP_INSTANCE: Self = Self(0x0117);
    /// PS3.7 §C.5.12: N-ACTION for another instance than the well-known one.
    pub const NO_SUCH_SOP_INSTANCE: Self = Self(0x0112);
    /// PS3.7 §C.5.9: the argument cannot be read.
    pub const INVALID_ARGUMENT_VALUE: Self = Self(0x0115);
    /// PS3.7 §C.5.23 (Refused: SOP Class Not Supported): not the class of its presentation context.
    pub const SOP_CLASS_NOT_SUPPORTED: Self = Self(0x0122);
    /// PS3.7 §C.5.26.
    pub const UNRECOGNIZED_OPERATION: Self = Self(0x0211);
    /// PS3.7 §C.5.16: the command lacks what it needs.
    pub const MISTYPED_ARGUMENT: Self = Self(0x0212);
    /// PS3.4 Table B.2-1, Refused: Out of Resources (A7xx).
    pub const OUT_OF_RESOURCES: Self = Self(0xA700);
    /// PS3.4 Table B.2-1, Error: Data Set does not match SOP Class (A9xx).
    pub const DATA_SET_DOES_NOT_MATCH: Self = Self(0xA900);
    /// PS3.4 Table B.2-1, Error: Cannot understand (Cxxx).
    pub const CANNOT_UNDERSTAND: Self = Self(0xC000);

    /// PS3.7 §C.1: success and the warnings that leave the instance stored.
    pub fn is_stored(self) -> bool {
        // PS3.4 Table B.2-1: coercion, mismatch and discarded elements are warnings.
        matches!(self.0, 0x0000 | 0xB000 | 0xB006 | 0xB007 | 0x0001 | 0x0107 | 0x0116)
    }

    /// Whether the same instance may be taken at another time.
    pub fn may_pass(self) -> bool {
        matches!(self.0, 0xA700..=0xA7FF | 0x0110)
    }

    /// The failure Reason (0008,1197) of a commitment: PS3.3 §C.14.1.1.
    pub(crate) const COMMIT_PROCESSING_FAILURE: Self = Self(0x0110);
    pub(crate) const COMMIT_NO_SUCH_OBJECT: Self = Self(0x0112);
    pub(crate) const COMMIT_CLASS_CONFLICT: Self = Self(0x0119);

    /// What our answers mean, for the conformance statement.
    pub(crate) const STORE_ANSWERS: &[(Self, &'static str)] = &[
        (
            Self::SUCCESS,
            "the instance is kept as durably as configured, or was kept already, or another data set has its UID and this one is kept in quarantine",
        ),
        (
            Self::OUT_OF_RESOURCES,
            "the disk is full or below its watermark; nothing was kept; send again later",
        ),
        (
            Self::DATA_SET_DOES_NOT_MATCH,
            "data set and command name different SOP classes or SOP instances; kept in quarantine",
        ),
        (Self::CANNOT_UNDERSTAND, "the data set cannot be read, is cut, or lacks a UID; kept in quarantine"),
        (Self::SOP_CLASS_NOT_SUPPORTED, "the SOP class is not that of the presentation context"),
        (Self::INVALID_SOP_INSTANCE, "the SOP Instance UID of the command is no UID"),
        (Self::MISTYPED_ARGUMENT, "the command lacks an element that it must have"),
        (Self::PROCESSING_FAILURE, "a fault of the receiver; nothing was kept"),
    ];
}

impl std::fmt::Display for Status {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:04X}H", self.0)
    }
}
