//! A-ASSOCIATE-RQ and A-ASSOCIATE-AC (PS3.8 §9.3.2, §9.3.3; user items PS3.7 §D.3.3).

use std::collections::BTreeSet;

use super::{
    APPLICATION_CONTEXT_NAME, BadPdu, PDU_HEADER_BYTES, PduType,
    reader::{self, Reader},
};

const APPLICATION_CONTEXT: u8 = 0x10;
const PRESENTATION_CONTEXT_RQ: u8 = 0x20;
const PRESENTATION_CONTEXT_AC: u8 = 0x21;
const ABSTRACT_SYNTAX: u8 = 0x30;
const TRANSFER_SYNTAX: u8 = 0x40;
const USER_INFORMATION: u8 = 0x50;
const MAXIMUM_LENGTH: u8 = 0x51;
const IMPLEMENTATION_CLASS_UID: u8 = 0x52;
const ASYNCHRONOUS_OPERATIONS_WINDOW: u8 = 0x53;
const ROLE_SELECTION: u8 = 0x54;
const IMPLEMENTATION_VERSION_NAME: u8 = 0x55;
const SOP_CLASS_EXTENDED_NEGOTIATION: u8 = 0x56;
const USER_IDENTITY_RQ: u8 = 0x58;
const USER_IDENTITY_AC: u8 = 0x59;
/// Type, reserved byte, length.
const ITEM_HEADER_BYTES: usize = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AssociateRq {
    pub(crate) protocol_version: u16,
    pub(crate) called_ae_title: String,
    pub(crate) calling_ae_title: String,
    pub(crate) application_context: String,
    pub(crate) contexts: Vec<ContextProposed>,
    pub(crate) user: UserInformation,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContextProposed {
    pub(crate) id: u8,
    pub(crate) abstract_syntax: String,
    pub(crate) transfer_syntaxes: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UserInformation {
    /// 0 for no limit.
    pub(crate) pdu_max: u32,
    pub(crate) implementation_class_uid: String,
    pub(crate) implementation_version_name: String,
    /// Operations invoked, operations performed; 0 for no limit.
    pub(crate) asynchronous_window: Option<(u16, u16)>,
    pub(crate) roles: Vec<RoleSelection>,
    /// SOP class, service class application information.
    pub(crate) extended: Vec<(String, Vec<u8>)>,
    pub(crate) identity: Option<UserIdentity>,
    /// Only in an acceptance: the server's response to an identity.
    pub(crate) identity_response: Option<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoleSelection {
    pub(crate) sop_class: String,
    pub(crate) scu: bool,
    pub(crate) scp: bool,
}

/// PS3.7 §D.3.3.7. `Debug` shows no credential.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct UserIdentity {
    pub(crate) kind: IdentityKind,
    pub(crate) wants_response: bool,
    pub(crate) primary: Vec<u8>,
    pub(crate) secondary: Vec<u8>,
}

impl std::fmt::Debug for UserIdentity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("UserIdentity").field("kind", &self.kind).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdentityKind {
    Username,
    UsernameAndPasscode,
    JsonWebToken,
    /// Kerberos, SAML or what may come.
    Other(u8),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AssociateAc {
    pub(crate) called_field: [u8; 16],
    pub(crate) calling_field: [u8; 16],
    pub(crate) contexts: Vec<ContextResult>,
    pub(crate) user: UserInformation,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContextResult {
    pub(crate) id: u8,
    pub(crate) result: AbstractSyntaxResult,
    pub(crate) transfer_syntax: String,
}

/// PS3.8 §9.3.3.2, result/reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AbstractSyntaxResult {
    Acceptance = 0,
    UserRejection = 1,
    NoReason = 2,
    AbstractSyntaxNotSupported = 3,
    TransferSyntaxesNotSupported = 4,
}

impl AssociateRq {
    /// Reads the content behind the PDU header.
    ///
    /// # Errors
    /// When it is no association request.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BadPdu> {
        let mut reader = Reader(bytes);
        let protocol_version = reader.u16()?;
        reader.take(2)?;
        let called_ae_title = reader::text(reader.take(16)?)?;
        let calling_ae_title = reader::text(reader.take(16)?)?;
        reader.take(32)?;
        let (mut application_context, mut contexts, mut user) = (None, Vec::new(), None);
        while !reader.is_empty() {
            let (kind, content) = reader.item()?;
            match kind {
                APPLICATION_CONTEXT => application_context = Some(content.text()?),
                PRESENTATION_CONTEXT_RQ => contexts.push(ContextProposed::decode(content)?),
                USER_INFORMATION => user = Some(UserInformation::decode(content)?),
                _ => {}
            }
        }
        check_ids(contexts.iter().map(|context| context.id))?;
        Ok(Self {
            protocol_version,
            called_ae_title,
            calling_ae_title,
            application_context: application_context.ok_or(BadPdu::Missing)?,
            contexts,
            user: user.unwrap_or_default(),
        })
    }

    pub(crate) fn encode(&self, called_field: [u8; 16], calling_field: [u8; 16]) -> Vec<u8> {
        let mut content = Vec::new();
        content.extend_from_slice(&self.protocol_version.to_be_bytes());
        content.extend_from_slice(&[0, 0]);
        content.extend_from_slice(&called_field);
        content.extend_from_slice(&calling_field);
        content.extend_from_slice(&[0; 32]);
        put_item(&mut content, APPLICATION_CONTEXT, self.application_context.as_bytes());
        for context in &self.contexts {
            let mut inside = vec![context.id, 0, 0, 0];
            put_item(&mut inside, ABSTRACT_SYNTAX, context.abstract_syntax.as_bytes());
            for syntax in &context.transfer_syntaxes {
                put_item(&mut inside, TRANSFER_SYNTAX, syntax.as_bytes());
            }
            put_item(&mut content, PRESENTATION_CONTEXT_RQ, &inside);
        }
        put_item(&mut content, USER_INFORMATION, &self.user.encode());
        with_header(PduType::AssociateRq, &content)
    }
}

impl ContextProposed {
    fn decode(mut reader: Reader<'_>) -> Result<Self, BadPdu> {
        let id = reader.u8()?;
        reader.take(3)?;
        let (mut abstract_syntax, mut transfer_syntaxes) = (None, Vec::new());
        while !reader.is_empty() {
            let (kind, content) = reader.item()?;
            match kind {
                ABSTRACT_SYNTAX => abstract_syntax = Some(content.text()?),
                TRANSFER_SYNTAX => transfer_syntaxes.push(content.text()?),
                _ => {}
            }
        }
        Ok(Self { id, abstract_syntax: abstract_syntax.ok_or(BadPdu::Missing)?, transfer_syntaxes })
    }
}

impl AssociateAc {
    /// Reads the content behind the PDU header.
    ///
    /// # Errors
    /// When it is no acceptance.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BadPdu> {
        let mut reader = Reader(bytes);
        reader.take(4)?;
        let called_field = reader.take(16)?.try_into().map_err(|_| BadPdu::Cut)?;
        let calling_field = reader.take(16)?.try_into().map_err(|_| BadPdu::Cut)?;
        reader.take(32)?;
        let (mut contexts, mut user) = (Vec::new(), UserInformation::default());
        while !reader.is_empty() {
            let (kind, content) = reader.item()?;
            match kind {
                PRESENTATION_CONTEXT_AC => contexts.push(ContextResult::decode(content)?),
                USER_INFORMATION => user = UserInformation::decode(content)?,
                _ => {}
            }
        }
        check_ids(contexts.iter().map(|context| context.id))?;
        Ok(Self { called_field, calling_field, contexts, user })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut content = Vec::new();
        content.extend_from_slice(&[0, 1, 0, 0]);
        content.extend_from_slice(&self.called_field);
        content.extend_from_slice(&self.calling_field);
        content.extend_from_slice(&[0; 32]);
        put_item(&mut content, APPLICATION_CONTEXT, APPLICATION_CONTEXT_NAME.as_bytes());
        for context in &self.contexts {
            let mut inside = vec![context.id, 0, context.result as u8, 0];
            put_item(&mut inside, TRANSFER_SYNTAX, context.transfer_syntax.as_bytes());
            put_item(&mut content, PRESENTATION_CONTEXT_AC, &inside);
        }
        put_item(&mut content, USER_INFORMATION, &self.user.encode());
        with_header(PduType::AssociateAc, &content)
    }
}

impl ContextResult {
    fn decode(mut reader: Reader<'_>) -> Result<Self, BadPdu> {
        let id = reader.u8()?;
        reader.take(1)?;
        let result = reader.u8()?;
        reader.take(1)?;
        let mut transfer_syntax = String::new();
        while !reader.is_empty() {
            let (kind, content) = reader.item()?;
            if kind == TRANSFER_SYNTAX {
                transfer_syntax = content.text()?;
            }
        }
        let result = match result {
            0 => AbstractSyntaxResult::Acceptance,
            1 => AbstractSyntaxResult::UserRejection,
            3 => AbstractSyntaxResult::AbstractSyntaxNotSupported,
            4 => AbstractSyntaxResult::TransferSyntaxesNotSupported,
            _ => AbstractSyntaxResult::NoReason,
        };
        Ok(Self { id, result, transfer_syntax })
    }
}

impl UserInformation {
    fn decode(mut reader: Reader<'_>) -> Result<Self, BadPdu> {
        let mut user = Self::default();
        while !reader.is_empty() {
            let (kind, mut content) = reader.item()?;
            match kind {
                MAXIMUM_LENGTH => user.pdu_max = content.u32()?,
                IMPLEMENTATION_CLASS_UID => user.implementation_class_uid = content.text()?,
                IMPLEMENTATION_VERSION_NAME => user.implementation_version_name = content.text()?,
                ASYNCHRONOUS_OPERATIONS_WINDOW => {
                    user.asynchronous_window = Some((content.u16()?, content.u16()?));
                }
                ROLE_SELECTION => user.roles.push(RoleSelection {
                    sop_class: reader::text(content.field()?)?,
                    scu: content.u8()? == 1,
                    scp: content.u8()? == 1,
                }),
                SOP_CLASS_EXTENDED_NEGOTIATION => {
                    user.extended.push((reader::text(content.field()?)?, content.0.to_vec()));
                }
                USER_IDENTITY_RQ => user.identity = Some(UserIdentity::decode(content)?),
                USER_IDENTITY_AC => user.identity_response = Some(content.field()?.to_vec()),
                _ => {}
            }
        }
        Ok(user)
    }

    /// What the peer must know comes first: sub-items beyond the length that the item can have are left out.
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_item(&mut out, MAXIMUM_LENGTH, &self.pdu_max.to_be_bytes());
        put_item(&mut out, IMPLEMENTATION_CLASS_UID, self.implementation_class_uid.as_bytes());
        if let Some((invoked, performed)) = self.asynchronous_window {
            let window = [invoked.to_be_bytes(), performed.to_be_bytes()].concat();
            put_item(&mut out, ASYNCHRONOUS_OPERATIONS_WINDOW, &window);
        }
        put_item(&mut out, IMPLEMENTATION_VERSION_NAME, self.implementation_version_name.as_bytes());
        if let Some(identity) = &self.identity {
            put_item(&mut out, USER_IDENTITY_RQ, &identity.encode());
        }
        if let Some(response) = &self.identity_response {
            let mut item = Vec::new();
            put_field(&mut item, response);
            put_item(&mut out, USER_IDENTITY_AC, &item);
        }
        for role in &self.roles {
            let mut item = Vec::new();
            put_field(&mut item, role.sop_class.as_bytes());
            item.extend_from_slice(&[u8::from(role.scu), u8::from(role.scp)]);
            put_item_that_fits(&mut out, ROLE_SELECTION, &item);
        }
        for (sop_class, information) in &self.extended {
            let mut item = Vec::new();
            put_field(&mut item, sop_class.as_bytes());
            item.extend_from_slice(information);
            put_item_that_fits(&mut out, SOP_CLASS_EXTENDED_NEGOTIATION, &item);
        }
        out
    }
}

impl UserIdentity {
    fn decode(mut reader: Reader<'_>) -> Result<Self, BadPdu> {
        let kind = match reader.u8()? {
            1 => IdentityKind::Username,
            2 => IdentityKind::UsernameAndPasscode,
            5 => IdentityKind::JsonWebToken,
            other => IdentityKind::Other(other),
        };
        Ok(Self {
            kind,
            wants_response: reader.u8()? == 1,
            primary: reader.field()?.to_vec(),
            secondary: reader.field()?.to_vec(),
        })
    }

    fn encode(&self) -> Vec<u8> {
        let kind = match self.kind {
            IdentityKind::Username => 1,
            IdentityKind::UsernameAndPasscode => 2,
            IdentityKind::JsonWebToken => 5,
            IdentityKind::Other(other) => other,
        };
        let mut out = vec![kind, u8::from(self.wants_response)];
        put_field(&mut out, &self.primary);
        put_field(&mut out, &self.secondary);
        out
    }
}

/// PS3.8 §9.3.2.2: odd, and each once.
fn check_ids(ids: impl Iterator<Item = u8>) -> Result<(), BadPdu> {
    let mut seen = BTreeSet::new();
    for id in ids {
        if id % 2 == 0 || !seen.insert(id) {
            return Err(BadPdu::ContextId(id));
        }
    }
    Ok(())
}

/// What is longer than its length can say is cut; nothing that a peer asks may end the thread that answers it.
fn put_field(out: &mut Vec<u8>, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&value[..usize::from(length)]);
}

/// Leaves out what would make `out` longer than the item around it can be; an answer that is missing is the default
/// (PS3.7 §D.3.3.4, §D.3.3.5).
fn put_item_that_fits(out: &mut Vec<u8>, kind: u8, content: &[u8]) {
    if out.len() + ITEM_HEADER_BYTES + content.len() <= usize::from(u16::MAX) {
        put_item(out, kind, content);
    }
}

fn put_item(out: &mut Vec<u8>, kind: u8, content: &[u8]) {
    out.extend_from_slice(&[kind, 0]);
    put_field(out, content);
}

fn with_header(kind: PduType, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(PDU_HEADER_BYTES + content.len());
    out.extend_from_slice(&[kind as u8, 0]);
    let length = u32::try_from(content.len()).expect("an association PDU is short");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request() -> AssociateRq {
        AssociateRq {
            protocol_version: 1,
            called_ae_title: "OVERREAD".to_owned(),
            calling_ae_title: "MODALITY".to_owned(),
            application_context: APPLICATION_CONTEXT_NAME.to_owned(),
            contexts: vec![ContextProposed {
                id: 3,
                abstract_syntax: "1.2.840.10008.1.1".to_owned(),
                transfer_syntaxes: vec!["1.2.840.10008.1.2".to_owned(), "1.2.840.10008.1.2.1".to_owned()],
            }],
            user: UserInformation {
                pdu_max: 16384,
                implementation_class_uid: "1.2.3".to_owned(),
                implementation_version_name: "X".to_owned(),
                asynchronous_window: Some((5, 1)),
                roles: vec![RoleSelection {
                    sop_class: "1.2.840.10008.1.1".to_owned(),
                    scu: true,
                    scp: true,
                }],
                extended: vec![("1.2.840.10008.1.1".to_owned(), vec![1, 2])],
                identity: Some(UserIdentity {
                    kind: IdentityKind::UsernameAndPasscode,
                    wants_response: true,
                    primary: b"name".to_vec(),
                    secondary: b"passcode".to_vec(),
                }),
                identity_response: None,
            },
        }
    }

    fn encoded() -> Vec<u8> {
        request().encode(*b"OVERREAD        ", *b"MODALITY        ")
    }

    #[test]
    fn a_request_reads_back_whole() {
        assert_eq!(AssociateRq::decode(&encoded()[PDU_HEADER_BYTES..]), Ok(request()));
    }

    #[test]
    fn a_cut_request_is_refused() {
        let bytes = &encoded()[PDU_HEADER_BYTES..];
        for end in 0..bytes.len() {
            assert!(
                AssociateRq::decode(&bytes[..end]).map_or_else(|_| true, |cut| cut != request()),
                "{end}"
            );
        }
    }

    #[test]
    fn even_and_doubled_context_ids_are_refused() {
        for ids in [[2, 3], [3, 3]] {
            let mut request = request();
            let context = request.contexts[0].clone();
            request.contexts = ids.iter().map(|&id| ContextProposed { id, ..context.clone() }).collect();
            let bytes = request.encode([b' '; 16], [b' '; 16]);
            assert!(matches!(AssociateRq::decode(&bytes[PDU_HEADER_BYTES..]), Err(BadPdu::ContextId(_))));
        }
    }

    #[test]
    fn a_credential_is_not_shown() {
        assert!(!format!("{:?}", request()).contains("passcode"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = AssociateRq::decode(&bytes).is_ok();
            let _ = AssociateAc::decode(&bytes).is_ok();
        }

        #[test]
        fn no_damage_makes_decoding_panic(at in 0_usize..300, byte in any::<u8>()) {
            let mut bytes = encoded().split_off(PDU_HEADER_BYTES);
            let at = at.min(bytes.len() - 1);
            bytes[at] = byte;
            let _ = AssociateRq::decode(&bytes).is_ok();
        }
    }
}
