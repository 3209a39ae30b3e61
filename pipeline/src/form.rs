//! In which form a destination wants its objects: as it says itself, else as the package says.
//!
//! Forms that come out equal are one set of objects, whoever asks for it. The name of a form is part
//! of every UID and says all that the form decides, so that two forms of one result never share one.

use std::collections::BTreeSet;

use inference::{Package, package::SegKind};
use ledger::ArtifactId;
use results::{Background, Compression, EmptyFrames, Packing, Profile, SegmentationType};

use crate::config::PipelineConfig;

/// The form in which a package's results are written when nobody asks for another one.
const OF_PACKAGE: &str = "default";
/// Objects that a person brought have one form, for everybody.
pub(crate) const GIVEN: &str = "given";

/// What a destination asks for; what it leaves open is as the package says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form {
    pub segmentation: Option<SegmentationType>,
    /// Of label maps.
    pub compression: Option<Compression>,
    /// Of label maps.
    pub background: Option<Background>,
    pub packing: Option<Packing>,
    pub empty_frames: Option<EmptyFrames>,
    /// Of models whose package keeps probabilities.
    pub parametric_map: Option<bool>,
    pub summary: Option<bool>,
}

/// A form that leaves nothing open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) profile: Profile,
    pub(crate) parametric_map: bool,
    pub(crate) summary: bool,
}

impl Settled {
    pub(crate) fn of_package(package: &Package) -> Self {
        Self::of(&Form::default(), package)
    }

    pub(crate) fn of(form: &Form, package: &Package) -> Self {
        let of_package = match package.writes.seg {
            Some(SegKind::Labelmap) => SegmentationType::LabelMap,
            Some(SegKind::Fractional) => SegmentationType::Fractional,
            Some(SegKind::Binary) | None => SegmentationType::Binary,
        };
        let usual = Profile::default();
        let profile = Profile {
            name: OF_PACKAGE.to_owned(),
            segmentation: form.segmentation.unwrap_or(of_package),
            compression: form.compression.unwrap_or(usual.compression),
            background: form.background.unwrap_or(usual.background),
            packing: form.packing.unwrap_or(usual.packing),
            empty_frames: form.empty_frames.unwrap_or(usual.empty_frames),
        };
        let settled = Self {
            profile,
            parametric_map: form.parametric_map.unwrap_or(package.writes.parametric_map),
            summary: form.summary.unwrap_or(package.writes.summary),
        };
        if *form == Form::default() || settled == Self::of_package(package) {
            return settled;
        }
        let name = settled.described();
        Self { profile: Profile { name, ..settled.profile }, ..settled }
    }

    /// Everything that the form decides.
    fn described(&self) -> String {
        let Profile { segmentation, compression, background, packing, empty_frames, .. } = &self.profile;
        let kind = match segmentation {
            SegmentationType::Binary => "binary",
            SegmentationType::LabelMap => "labelmap",
            SegmentationType::Fractional => "fractional",
        };
        let further = [
            (*compression == Compression::Rle, "rle"),
            (*background == Background::Described, "background"),
            (*packing == Packing::FilePerSegment, "file-per-segment"),
            (*empty_frames == EmptyFrames::Keep, "empty-frames"),
            (self.parametric_map, "map"),
            (self.summary, "summary"),
        ];
        let further = further.into_iter().filter_map(|(is_so, word)| is_so.then_some(word));
        std::iter::once(kind).chain(further).collect::<Vec<_>>().join("+")
    }
}

/// The forms that the destinations of a model want, each once; the package's own when there are none.
pub(crate) fn wanted(config: &PipelineConfig, package: &Package) -> Vec<Settled> {
    let mut forms: Vec<Settled> = Vec::new();
    for destination in config.destinations_of(package.id.as_str()) {
        let form = Settled::of(&destination.form, package);
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    if forms.is_empty() {
        forms.push(Settled::of_package(package));
    }
    forms
}

/// An object that may leave, and the form that it is part of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offered<'a> {
    pub(crate) id: ArtifactId,
    pub(crate) profile: &'a str,
}

/// The form of a result that a destination gets: the one that it wants, and where the result was
/// not written in that (the configuration has changed, the package is gone) one that there is.
pub(crate) fn chosen<'a>(
    form: &Form,
    package: Option<&Package>,
    profiles: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let there: BTreeSet<&str> = profiles.into_iter().filter(|profile| *profile != GIVEN).collect();
    let wanted = package.map(|package| Settled::of(form, package).profile.name);
    let is_there = |name: &str| there.get(name).copied();
    wanted.as_deref().and_then(is_there).or_else(|| is_there(OF_PACKAGE)).or_else(|| there.first().copied())
}
