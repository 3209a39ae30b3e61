//! The answer to an association request, as a pure function of request and configuration.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use imaging::Uid;
use spool::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};

use crate::{
    access,
    config::{CalledAe, ScpConfig},
    identity::Checked,
    pdu::{
        APPLICATION_CONTEXT_NAME, AbstractSyntaxResult, AssociateAc, AssociateRq, ContextProposed,
        ContextResult, Rejection, RoleSelection, UserInformation,
    },
    sop_class, transfer_syntax,
};

/// What an accepted presentation context is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Verification,
    Storage,
    StorageCommitment,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) service: Service,
    pub(crate) abstract_syntax: String,
    pub(crate) transfer_syntax: Uid,
}

/// An association that may begin.
#[derive(Debug)]
pub(crate) struct Agreed {
    pub(crate) acceptance: AssociateAc,
    pub(crate) contexts: HashMap<u8, Context>,
    pub(crate) called: CalledAe,
    pub(crate) calling_ae_title: String,
    /// Longest PDU that the peer takes; 0 for no limit.
    pub(crate) peer_pdu_max: u32,
}

/// Decides on `request` of a peer at `address`; `fields` are the called and calling title as they were sent.
///
/// # Errors
/// The reason to reject it with.
pub(crate) fn negotiate(
    config: &ScpConfig,
    address: IpAddr,
    request: &AssociateRq,
    fields: ([u8; 16], [u8; 16]),
) -> Result<Agreed, Rejection> {
    // PS3.8 §9.3.2: version 1 is bit 0, and only that bit is tested.
    if request.protocol_version & 1 == 0 {
        return Err(Rejection::ProtocolVersionNotSupported);
    }
    if request.application_context != APPLICATION_CONTEXT_NAME {
        return Err(Rejection::ApplicationContextNotSupported);
    }
    let called = config
        .called
        .iter()
        .find(|called| called.ae_title.as_str() == request.called_ae_title)
        .ok_or(Rejection::CalledAeTitleNotRecognized)?;
    access::check_peer(config, address, &request.calling_ae_title)?;
    let checked = config.identities.check(request.user.identity.as_ref())?;
    let mut contexts = HashMap::new();
    let results = request
        .contexts
        .iter()
        .map(|proposed| {
            let (result, transfer_syntax) = match decide(config, proposed) {
                Ok(context) => {
                    let transfer_syntax = context.transfer_syntax.to_string();
                    contexts.insert(proposed.id, context);
                    (AbstractSyntaxResult::Acceptance, transfer_syntax)
                }
                // PS3.8 §9.3.3.2: the syntax of a refused context is not significant, but there must be one.
                Err(result) => (result, transfer_syntax::IMPLICIT_VR_LITTLE_ENDIAN.to_owned()),
            };
            ContextResult { id: proposed.id, result, transfer_syntax }
        })
        .collect();
    let (called_field, calling_field) = fields;
    Ok(Agreed {
        acceptance: AssociateAc {
            called_field,
            calling_field,
            contexts: results,
            user: user_information(config, &request.user, checked),
        },
        contexts,
        called: called.clone(),
        calling_ae_title: request.calling_ae_title.clone(),
        peer_pdu_max: request.user.pdu_max,
    })
}

fn decide(config: &ScpConfig, proposed: &ContextProposed) -> Result<Context, AbstractSyntaxResult> {
    let service =
        service(config, &proposed.abstract_syntax).ok_or(AbstractSyntaxResult::AbstractSyntaxNotSupported)?;
    let chosen = match service {
        Service::Storage => transfer_syntax::choose_for_storage(&proposed.transfer_syntaxes),
        Service::Verification | Service::StorageCommitment => {
            transfer_syntax::choose_for_services(&proposed.transfer_syntaxes)
        }
    };
    Ok(Context {
        service,
        abstract_syntax: proposed.abstract_syntax.clone(),
        transfer_syntax: chosen.ok_or(AbstractSyntaxResult::TransferSyntaxesNotSupported)?,
    })
}

fn service(config: &ScpConfig, abstract_syntax: &str) -> Option<Service> {
    match abstract_syntax {
        sop_class::VERIFICATION => Some(Service::Verification),
        sop_class::STORAGE_COMMITMENT_PUSH => Some(Service::StorageCommitment),
        uid if sop_class::storage_name(uid).is_some() => Some(Service::Storage),
        uid if config.extra_sop_classes.iter().any(|extra| extra.as_str() == uid) => Some(Service::Storage),
        _ => None,
    }
}

fn user_information(config: &ScpConfig, asked: &UserInformation, checked: Checked) -> UserInformation {
    let (mut roles, mut extended) = (HashSet::new(), HashSet::new());
    UserInformation {
        pdu_max: config.limits.pdu_bytes_max,
        implementation_class_uid: IMPLEMENTATION_CLASS_UID.to_owned(),
        implementation_version_name: IMPLEMENTATION_VERSION_NAME.to_owned(),
        // PS3.7 §D.3.3.3: one operation at a time, in both directions.
        asynchronous_window: asked.asynchronous_window.map(|_| (1, 1)),
        // PS3.7 §D.3.3.4: the requester stays the user of the service; but who was asked for a commitment by us
        // reports as its provider (PS3.4 §J.3.3). A class is answered once, and only where we serve it.
        roles: asked
            .roles
            .iter()
            .filter(|role| service(config, &role.sop_class).is_some() && roles.insert(&role.sop_class))
            .map(|role| RoleSelection {
                sop_class: role.sop_class.clone(),
                scu: role.scu,
                scp: role.scp && role.sop_class == sop_class::STORAGE_COMMITMENT_PUSH,
            })
            .collect(),
        // PS3.4 §B.3.1: storage at level 2 (full), no element coerced.
        extended: asked
            .extended
            .iter()
            .filter(|(class, _)| service(config, class) == Some(Service::Storage) && extended.insert(class))
            .map(|(class, _)| (class.clone(), vec![2, 0, 0, 0, 0, 0]))
            .collect(),
        identity: None,
        // PS3.7 §D.3.3.7: positive only where the identity was checked; the field is empty for passcodes and tokens.
        identity_response: asked
            .identity
            .as_ref()
            .filter(|identity| identity.wants_response && checked == Checked::Known)
            .map(|_| Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use ledger::{BootId, NodeId};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        AeTitle, UserPasscode,
        pdu::{IdentityKind, PDU_HEADER_BYTES, UserIdentity},
    };

    const MR: &str = "1.2.840.10008.5.1.4.1.1.4";

    fn config() -> ScpConfig {
        let title = AeTitle::parse("OVERREAD").unwrap();
        ScpConfig::new("127.0.0.1:0".parse().unwrap(), title, NodeId::new("n"), BootId::new("b"))
    }

    fn request(contexts: &[(&str, &[&str])]) -> AssociateRq {
        AssociateRq {
            protocol_version: 1,
            called_ae_title: "OVERREAD".to_owned(),
            calling_ae_title: "CT".to_owned(),
            application_context: APPLICATION_CONTEXT_NAME.to_owned(),
            contexts: contexts
                .iter()
                .zip((1..).step_by(2))
                .map(|((class, syntaxes), id)| ContextProposed {
                    id,
                    abstract_syntax: (*class).to_owned(),
                    transfer_syntaxes: syntaxes.iter().map(|uid| (*uid).to_owned()).collect(),
                })
                .collect(),
            user: UserInformation::default(),
        }
    }

    fn decide_on(request: &AssociateRq) -> Result<Agreed, Rejection> {
        negotiate(&config(), [127, 0, 0, 1].into(), request, ([b' '; 16], [b' '; 16]))
    }

    #[track_caller]
    fn check(class: &str, syntaxes: &[&str], expected: Result<&str, AbstractSyntaxResult>) {
        let agreed = decide_on(&request(&[(class, syntaxes)])).unwrap();
        let result = &agreed.acceptance.contexts[0];
        let got = match result.result {
            AbstractSyntaxResult::Acceptance => Ok(result.transfer_syntax.as_str()),
            refused => Err(refused),
        };
        assert_eq!(got, expected);
        assert_eq!(agreed.contexts.len(), usize::from(expected.is_ok()));
    }

    #[test]
    fn every_offered_syntax_is_taken_in_the_order_of_the_offer() {
        check(MR, &["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2"], Ok("1.2.840.10008.1.2.4.90"));
        check(MR, &["1.2.840.10008.1.2.2"], Ok("1.2.840.10008.1.2.2"));
        check(MR, &["1.2.3.4.5", "1.2.840.10008.1.2"], Ok("1.2.840.10008.1.2"));
        check(MR, &["1.2.3.4.5"], Ok("1.2.3.4.5"));
        check(MR, &[], Err(AbstractSyntaxResult::TransferSyntaxesNotSupported));
        check(
            sop_class::VERIFICATION,
            &["1.2.840.10008.1.2.4.90"],
            Err(AbstractSyntaxResult::TransferSyntaxesNotSupported),
        );
    }

    #[test]
    fn what_is_no_storage_class_is_refused_by_context() {
        check(
            "1.2.840.10008.5.1.4.1.2.2.1",
            &["1.2.840.10008.1.2"],
            Err(AbstractSyntaxResult::AbstractSyntaxNotSupported),
        );
        check("1.2.3.4", &["1.2.840.10008.1.2"], Err(AbstractSyntaxResult::AbstractSyntaxNotSupported));
    }

    #[test]
    fn a_configured_private_class_is_taken() {
        let mut config = config();
        config.extra_sop_classes.push("1.2.3.4".parse().unwrap());
        let request = request(&[("1.2.3.4", &["1.2.840.10008.1.2"])]);
        let agreed = negotiate(&config, [127, 0, 0, 1].into(), &request, ([b' '; 16], [b' '; 16])).unwrap();
        assert_eq!(agreed.contexts[&1].service, Service::Storage);
    }

    #[test]
    fn refusals_name_their_reason() {
        let mut wrong = request(&[]);
        wrong.called_ae_title = "OTHER".to_owned();
        assert_eq!(decide_on(&wrong).unwrap_err(), Rejection::CalledAeTitleNotRecognized);
        let mut wrong = request(&[]);
        wrong.application_context = "1.2.3".to_owned();
        assert_eq!(decide_on(&wrong).unwrap_err(), Rejection::ApplicationContextNotSupported);
        let mut wrong = request(&[]);
        wrong.protocol_version = 2;
        assert_eq!(decide_on(&wrong).unwrap_err(), Rejection::ProtocolVersionNotSupported);
        let stranger = negotiate(&config(), [10, 0, 0, 1].into(), &request(&[]), ([0; 16], [0; 16]));
        assert_eq!(stranger.unwrap_err(), Rejection::CallingAeTitleNotRecognized);
    }

    #[test]
    fn only_bit_0_of_the_protocol_version_is_tested() {
        let mut newer = request(&[]);
        newer.protocol_version = 3;
        assert!(decide_on(&newer).is_ok());
    }

    #[test]
    fn extended_negotiation_is_answered_item_by_item() {
        let mut asked = request(&[(MR, &["1.2.840.10008.1.2"])]);
        asked.user.asynchronous_window = Some((0, 0));
        asked.user.roles.push(RoleSelection { sop_class: MR.to_owned(), scu: true, scp: true });
        asked.user.extended.push((MR.to_owned(), vec![2]));
        let user = decide_on(&asked).unwrap().acceptance.user;
        assert_eq!(user.asynchronous_window, Some((1, 1)));
        assert_eq!(user.roles, [RoleSelection { sop_class: MR.to_owned(), scu: true, scp: false }]);
        assert_eq!(user.extended.len(), 1);
    }

    #[test]
    fn each_class_is_answered_once_however_often_it_is_asked_for() {
        let mut asked = request(&[(MR, &["1.2.840.10008.1.2"])]);
        let role = |class: &str| RoleSelection { sop_class: class.to_owned(), scu: true, scp: false };
        asked.user.roles = vec![role(MR), role("1.2.3.4"), role(MR)];
        asked.user.extended = vec![(MR.to_owned(), Vec::new()); 2113];
        let user = decide_on(&asked).unwrap().acceptance.user;
        assert_eq!(user.roles, [role(MR)]);
        assert_eq!(user.extended.len(), 1);
    }

    #[test]
    fn an_identity_that_nobody_checked_is_not_answered() {
        let mut asked = request(&[(MR, &["1.2.840.10008.1.2"])]);
        for kind in [IdentityKind::UsernameAndPasscode, IdentityKind::Other(3), IdentityKind::JsonWebToken] {
            let (primary, secondary) = (b"ct1".to_vec(), b"secret".to_vec());
            asked.user.identity = Some(UserIdentity { kind, wants_response: true, primary, secondary });
            assert_eq!(decide_on(&asked).unwrap().acceptance.user.identity_response, None, "{kind:?}");
        }
        let mut config = config();
        config.identities.users =
            vec![UserPasscode { name: "ct1".to_owned(), passcode: "secret".to_owned() }];
        let decide_on =
            |asked: &AssociateRq| negotiate(&config, [127, 0, 0, 1].into(), asked, ([0; 16], [0; 16]));
        assert!(decide_on(&asked).is_err(), "a token that nobody can check");
        let response = |asked: &AssociateRq| decide_on(asked).unwrap().acceptance.user.identity_response;
        let identity = asked.user.identity.as_mut().unwrap();
        identity.kind = IdentityKind::UsernameAndPasscode;
        assert_eq!(response(&asked), Some(Vec::new()));
        asked.user.identity.as_mut().unwrap().wants_response = false;
        assert_eq!(response(&asked), None);
    }

    fn any_class() -> impl Strategy<Value = String> {
        prop_oneof![
            Just(MR.to_owned()),
            Just(sop_class::VERIFICATION.to_owned()),
            "1\\.2\\.840\\.10008\\.5\\.1\\.4\\.1\\.1\\.[1-9]{1,2}",
            "[0-9.]{0,300}",
        ]
    }

    fn any_user() -> impl Strategy<Value = UserInformation> {
        let role = (any_class(), any::<bool>(), any::<bool>())
            .prop_map(|(sop_class, scu, scp)| RoleSelection { sop_class, scu, scp });
        let extended = (any_class(), proptest::collection::vec(any::<u8>(), 0..8));
        let (roles, extended) =
            (proptest::collection::vec(role, 0..40), proptest::collection::vec(extended, 0..40));
        (any::<u32>(), any::<Option<(u16, u16)>>(), roles, extended, 0..100_usize).prop_map(
            |(pdu_max, asynchronous_window, roles, extended, repeats)| UserInformation {
                pdu_max,
                asynchronous_window,
                roles: std::iter::repeat_n(roles, repeats).flatten().collect(),
                extended: std::iter::repeat_n(extended, repeats).flatten().collect(),
                ..UserInformation::default()
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_answer_can_be_sent_and_reads_back(
            classes in proptest::collection::vec((any_class(), any_class()), 0..128),
            user in any_user(),
            extra in 0..2000_u32,
        ) {
            let mut config = config();
            // More classes than the answers to all of them would fit.
            config.extra_sop_classes = (0..extra).map(|number| format!("1.2.3.{number}").parse().unwrap()).collect();
            let contexts: Vec<_> = classes.iter().map(|(class, syntax)| (class.as_str(), [syntax.as_str()])).collect();
            let contexts: Vec<_> = contexts.iter().map(|(class, syntaxes)| (*class, &syntaxes[..])).collect();
            let mut asked = request(&contexts);
            asked.user = user;
            asked.user.extended.extend((0..extra).map(|number| (format!("1.2.3.{number}"), Vec::new())));
            let agreed = negotiate(&config, [127, 0, 0, 1].into(), &asked, ([b' '; 16], [b' '; 16])).unwrap();
            let bytes = agreed.acceptance.encode();
            let read = AssociateAc::decode(&bytes[PDU_HEADER_BYTES..]).unwrap();
            prop_assert_eq!(read.contexts, agreed.acceptance.contexts);
            prop_assert_eq!(read.user.pdu_max, agreed.acceptance.user.pdu_max);
            let answered: HashSet<_> = agreed.acceptance.user.extended.iter().collect();
            prop_assert!(read.user.extended.iter().all(|one| answered.contains(one)));
            prop_assert!(read.user.roles.iter().all(|role| agreed.acceptance.user.roles.contains(role)));
        }
    }
}
