//! UIDs of results: derived, so that a job that runs twice writes the same objects (DESIGN "Once in the PACS").

use imaging::Uid;
use uuid::Uuid;

/// What names the results of one job for ever: the installation and the job's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The id that lives in the data folder and survives recovery and restore.
    pub installation: Uuid,
    /// Digest of the input, the model package and the effective options.
    pub job_key: String,
}

/// What a UID is for. The text of a role is part of the UID: it must never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Segmentation,
    Report,
    Heatmap,
    Summary,
    ParametricMap,
    VerifiedReport,
    RejectionNote,
    RejectionReport,
    CorrectedReport,
    SupersedingNote,
    WithdrawalNote,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Segmentation => "segmentation",
            Self::Report => "report",
            Self::Heatmap => "heatmap",
            Self::Summary => "summary",
            Self::ParametricMap => "parametric-map",
            Self::VerifiedReport => "verified-report",
            Self::RejectionNote => "rejection-note",
            Self::RejectionReport => "rejection-report",
            Self::CorrectedReport => "corrected-report",
            Self::SupersedingNote => "superseding-note",
            Self::WithdrawalNote => "withdrawal-note",
        }
    }

    /// Series of one job lie side by side in the study: each role has its own number after the source's.
    pub(crate) fn series_offset(self) -> i32 {
        match self {
            Self::Segmentation => 1,
            Self::Report => 2,
            Self::Heatmap => 3,
            Self::Summary => 4,
            Self::ParametricMap => 5,
            Self::VerifiedReport => 6,
            Self::RejectionNote => 7,
            Self::RejectionReport => 8,
            Self::CorrectedReport => 9,
            Self::SupersedingNote => 10,
            Self::WithdrawalNote => 11,
        }
    }
}

impl Identity {
    /// SOP Instance UID of one object. `part` tells apart objects of one role: a segment, a review.
    pub fn instance(&self, role: Role, profile: &str, part: &str) -> Uid {
        self.uid(role.name(), profile, part)
    }

    /// Series Instance UID: one series for each role, profile and part, because viewers open the
    /// newest instance of a SEG series only.
    pub fn series(&self, role: Role, profile: &str, part: &str) -> Uid {
        self.uid(&format!("series of {}", role.name()), profile, part)
    }

    /// Tracking Unique Identifier (0062,0021) of a finding, equal in SEG and SR and over all profiles.
    pub fn tracking(&self, finding: &str) -> Uid {
        self.uid("tracking", "", finding)
    }

    pub(crate) fn dimensions(&self, role: Role, profile: &str, part: &str) -> Uid {
        self.uid(&format!("dimensions of {}", role.name()), profile, part)
    }

    /// Device UID of an algorithm; a retrained model has another digest and so another UID (IHE AIR).
    pub(crate) fn device(&self, algorithm_digest: &str) -> Uid {
        from_uuid(Uuid::new_v5(&self.installation, format!("device\n{algorithm_digest}").as_bytes()))
    }

    fn uid(&self, role: &str, profile: &str, part: &str) -> Uid {
        let name = [self.job_key.as_str(), role, profile, part].join("\n");
        from_uuid(Uuid::new_v5(&self.installation, name.as_bytes()))
    }
}

/// PS3.5 §B.2: a UUID as a UID.
fn from_uuid(uuid: Uuid) -> Uid {
    Uid::parse(&format!("2.25.{}", uuid.as_u128()))
        .expect("2.25. and a decimal number is a UID of at most 44 characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(job_key: &str) -> Identity {
        Identity { installation: Uuid::from_u128(7), job_key: job_key.into() }
    }

    #[test]
    fn a_repeated_job_has_the_same_uids() {
        let uid = identity("a").instance(Role::Report, "default", "");
        assert_eq!(uid, identity("a").instance(Role::Report, "default", ""));
        assert!(uid.as_str().starts_with("2.25.") && uid.as_str().len() <= 64);
    }

    #[test]
    fn job_role_profile_part_and_installation_each_change_the_uid() {
        let base = identity("a");
        let mut all = vec![
            base.instance(Role::Report, "default", ""),
            base.instance(Role::Report, "default", "1"),
            base.instance(Role::Report, "other", ""),
            base.instance(Role::Segmentation, "default", ""),
            base.series(Role::Report, "default", ""),
            base.dimensions(Role::Report, "default", ""),
            base.tracking(""),
            identity("b").instance(Role::Report, "default", ""),
            Identity { installation: Uuid::from_u128(8), ..base }.instance(Role::Report, "default", ""),
        ];
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 9);
    }

    #[test]
    fn uids_of_earlier_versions_stay() {
        let uid = identity("a").instance(Role::Segmentation, "default", "");
        assert_eq!(uid.as_str(), "2.25.12506563032929110018850955741419734038");
    }
}
