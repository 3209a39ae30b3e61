//! Which reviewed cases train, and which are kept for judging.
//!
//! One patient in five is never shown to the command, so that the comparison holds a part that the new version
//! cannot have learnt by heart. The choice is by the patient's pseudonym: the same in every run, and all cases of a
//! patient stand on one side.

use results::Pseudonyms;

use crate::export::{Reviewed, truth};

const ONE_IN: u8 = 5;

/// Cases that say what is true.
pub(super) fn usable(reviewed: &Reviewed) -> usize {
    reviewed.cases.len() + reviewed.predictions.iter().filter(|one| is_known(&truth(one))).count()
}

/// Whether a truth is one that a model of rows can be held against.
pub(super) fn is_known(truth: &str) -> bool {
    ["0", "1"].contains(&truth)
}

pub(super) fn is_held_out(pseudonyms: &Pseudonyms, patient: &str) -> bool {
    let pseudonym = pseudonyms.of("held-out", patient);
    let first = pseudonym.get(..2).and_then(|byte| u8::from_str_radix(byte, 16).ok());
    first.is_some_and(|byte| byte % ONE_IN == 0)
}

/// Without the cases that are kept for judging.
pub(super) fn training_part(reviewed: &Reviewed, pseudonyms: &Pseudonyms) -> Reviewed {
    let mut part = reviewed.clone();
    part.predictions.retain(|one| !is_held_out(pseudonyms, &one.prediction.patient_id));
    part.cases.retain(|one| !is_held_out(pseudonyms, &one.patient));
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_patient_in_five_is_held_out_and_always_the_same() {
        let pseudonyms = Pseudonyms::new([7; 32]);
        let held: Vec<bool> =
            (0..1000).map(|patient| is_held_out(&pseudonyms, &patient.to_string())).collect();
        let count = held.iter().filter(|held| **held).count();
        assert!((150..250).contains(&count), "{count}");
        assert_eq!(held[17], is_held_out(&pseudonyms, "17"));
    }
}
