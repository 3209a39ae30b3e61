//! Where a decision brings a result: one pure function, asked before documents are made and again in the transaction.

use super::{Review, ReviewState, Verdict};
use crate::AccountId;

/// How many doctors have to agree before a result is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eyes {
    Two,
    Four,
}

/// What a decision does to a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    To(ReviewState),
    /// This cannot be said of a result that stands there.
    Impossible,
    /// The first doctor cannot be the second one as well.
    SameDoctor,
    /// Only the doctor who gave the first opinion takes it back.
    OthersOpinion,
}

/// Where `verdict` by `account` brings a result that stands at `state` after `last`. How many eyes a site asks for
/// counts when the first doctor speaks; the second is needed then, whatever the configuration says later.
#[must_use]
pub fn standing(
    state: ReviewState,
    last: Option<&Review>,
    verdict: &Verdict,
    account: AccountId,
    eyes: Eyes,
) -> Standing {
    let is_undo = matches!(verdict, Verdict::Undo);
    match (state, last) {
        (ReviewState::Pending, _) if is_undo => Standing::Impossible,
        (ReviewState::Pending, _) => Standing::To(match eyes {
            Eyes::Two => verdict.leads_to(),
            Eyes::Four => ReviewState::AwaitingSecond,
        }),
        (ReviewState::AwaitingSecond, Some(first)) => match (first.reviewer.account == account, is_undo) {
            (true, true) => Standing::To(ReviewState::Pending),
            (true, false) => Standing::SameDoctor,
            (false, true) => Standing::OthersOpinion,
            (false, false) if first.verdict == *verdict => Standing::To(verdict.leads_to()),
            (false, false) => Standing::To(ReviewState::Disputed),
        },
        (ReviewState::AwaitingSecond, None) => Standing::Impossible,
        (
            ReviewState::Disputed | ReviewState::Accepted | ReviewState::Rejected | ReviewState::Corrected,
            _,
        ) if is_undo => Standing::To(ReviewState::Pending),
        (
            ReviewState::Disputed | ReviewState::Accepted | ReviewState::Rejected | ReviewState::Corrected,
            _,
        ) => Standing::Impossible,
    }
}

#[cfg(test)]
mod tests {
    use imaging::StudyUid;
    use serde_json::json;

    use super::*;
    use crate::{Millis, RejectionReason, ResultId, ReviewId, Reviewer};

    fn opinion(account: AccountId, verdict: Verdict) -> Review {
        Review {
            id: ReviewId::generate(),
            result: ResultId::generate(),
            study: StudyUid::parse("1.2").unwrap(),
            number: 1,
            leads_to: ReviewState::AwaitingSecond,
            verdict,
            comment: None,
            reviewer: Reviewer {
                account,
                login: "kim".to_owned(),
                full_name: String::new(),
                organization: String::new(),
            },
            request_id: None,
            at: Millis(0),
        }
    }

    fn class(meaning: &str) -> Verdict {
        Verdict::Correct(json!({ "class": { "value": "1", "scheme": "99X", "meaning": meaning } }))
    }

    #[test]
    fn one_doctor_decides_where_two_eyes_are_enough() {
        let account = AccountId::generate();
        for state in ReviewState::ALL.iter().filter(|state| **state != ReviewState::AwaitingSecond) {
            let accept = standing(*state, None, &Verdict::Accept, account, Eyes::Two);
            let undo = standing(*state, None, &Verdict::Undo, account, Eyes::Two);
            if *state == ReviewState::Pending {
                assert_eq!((accept, undo), (Standing::To(ReviewState::Accepted), Standing::Impossible));
            } else {
                assert_eq!(
                    (accept, undo),
                    (Standing::Impossible, Standing::To(ReviewState::Pending)),
                    "{state}"
                );
            }
        }
    }

    #[test]
    fn four_eyes_are_those_of_two_doctors_who_say_the_same() {
        let (kim, lee) = (AccountId::generate(), AccountId::generate());
        let first = standing(ReviewState::Pending, None, &Verdict::Accept, kim, Eyes::Four);
        assert_eq!(first, Standing::To(ReviewState::AwaitingSecond));
        let quality = Verdict::Reject(RejectionReason::Quality);
        for (said, by, then, expect) in [
            (Verdict::Accept, lee, Verdict::Accept, Standing::To(ReviewState::Accepted)),
            (Verdict::Accept, kim, Verdict::Accept, Standing::SameDoctor),
            (Verdict::Accept, kim, quality.clone(), Standing::SameDoctor),
            (Verdict::Accept, lee, quality.clone(), Standing::To(ReviewState::Disputed)),
            (quality.clone(), lee, quality.clone(), Standing::To(ReviewState::Rejected)),
            (
                quality,
                lee,
                Verdict::Reject(RejectionReason::PatientSafety),
                Standing::To(ReviewState::Disputed),
            ),
            (class("glioma"), lee, class("glioma"), Standing::To(ReviewState::Corrected)),
            (class("glioma"), lee, class("none"), Standing::To(ReviewState::Disputed)),
            (Verdict::Accept, kim, Verdict::Undo, Standing::To(ReviewState::Pending)),
            (Verdict::Accept, lee, Verdict::Undo, Standing::OthersOpinion),
        ] {
            let first = opinion(kim, said);
            // What the site asks for now does not matter any more.
            for eyes in [Eyes::Two, Eyes::Four] {
                assert_eq!(
                    standing(ReviewState::AwaitingSecond, Some(&first), &then, by, eyes),
                    expect,
                    "{then:?}"
                );
            }
        }
    }
}
