//! Splits slices that lie at the same places into one stack for each pass over them.
//!
//! Echoes, time points, diffusion weightings and the like repeat every place. The first
//! attribute that takes repeats apart without tearing a pass to pieces decides; without
//! one, instance numbers do. What is left is a duplicate.

use crate::{
    header::Header,
    series::{LeftOut, Reason, Slice, Unit},
};

/// Slices nearer than this lie at the same place, mm.
const SAME_PLACE_MM: f64 = 0.01;

pub(crate) struct Split {
    /// Sorted along the normal, each with what sets it apart.
    pub(crate) parts: Vec<(Vec<Slice>, Option<String>)>,
    pub(crate) duplicates: Vec<LeftOut>,
}

type Distinction = (&'static str, fn(&Header) -> String);

/// In the order in which they are tried.
const DISTINCTIONS: [Distinction; 11] = [
    ("image type", |header| header.image_type.join("\\")),
    ("echo time", |header| number(header.echo_time, "ms")),
    ("echo", |header| integer(header.echo_number)),
    ("temporal position", |header| integer(header.temporal_position)),
    ("b-value", |header| number(header.diffusion_b_value, "s/mm²")),
    ("inversion time", |header| number(header.inversion_time, "ms")),
    ("flip angle", |header| number(header.flip_angle, "°")),
    ("trigger time", |header| number(header.trigger_time, "ms")),
    ("kernel", |header| header.convolution_kernel.clone()),
    ("acquisition", |header| integer(header.acquisition_number)),
    ("acquisition time", |header| header.acquisition_time.clone()),
];

pub(crate) fn split(headers: &[Header], mut slices: Vec<Slice>, unit: Unit) -> Split {
    slices.sort_by(|a, b| {
        let number = |slice: &Slice| headers[slice.index].instance_number;
        a.height.total_cmp(&b.height).then_with(|| number(a).cmp(&number(b))).then(a.index.cmp(&b.index))
    });
    let mut split = Split { parts: Vec::new(), duplicates: Vec::new() };
    if unit == Unit::Instance {
        drop_same_instances(headers, &mut slices, &mut split.duplicates);
    }
    divide(headers, slices, None, &mut split);
    split
}

/// The same SOP Instance UID twice is one instance.
fn drop_same_instances(headers: &[Header], slices: &mut Vec<Slice>, duplicates: &mut Vec<LeftOut>) {
    let mut seen = std::collections::HashMap::new();
    slices.retain(|slice| match seen.entry(&headers[slice.index].sop_instance) {
        std::collections::hash_map::Entry::Vacant(entry) => {
            entry.insert(slice.index);
            true
        }
        std::collections::hash_map::Entry::Occupied(first) => {
            duplicates.push(LeftOut { index: slice.index, reason: Reason::DuplicateOf(*first.get()) });
            false
        }
    });
}

fn divide(headers: &[Header], slices: Vec<Slice>, name: Option<String>, split: &mut Split) {
    let places = places(&slices);
    let passes = places.iter().map(|place| place.len()).max().unwrap_or(0);
    if passes <= 1 {
        split.parts.push((slices, name));
        return;
    }
    for (label, value_of) in DISTINCTIONS {
        // More values than passes: it changes from slice to slice.
        let Some(parts) = partition(&slices, passes, |slice| value_of(&headers[slice.index])) else {
            continue;
        };
        let repeats = |part: &[Slice]| part.len() - self::places(part).len();
        let is_better = parts.iter().map(|(_, part)| repeats(part)).sum::<usize>() < repeats(&slices);
        if parts.len() > 1 && is_better {
            for (value, part) in parts {
                let own = format!("{label} {value}").trim_end().to_owned();
                let name = name.as_ref().map_or(own.clone(), |name| format!("{name}, {own}"));
                divide(headers, part, Some(name), split);
            }
            return;
        }
    }
    by_instance_number(headers, &places, name, split);
}

/// Passes that nothing but their numbering tells apart; equal numbers are duplicates.
fn by_instance_number(headers: &[Header], places: &[&[Slice]], name: Option<String>, split: &mut Split) {
    let mut passes: Vec<Vec<Slice>> = Vec::new();
    for place in places {
        let mut pass = 0;
        let mut previous: Option<Slice> = None;
        for slice in *place {
            let number = |slice: Slice| headers[slice.index].instance_number;
            match previous {
                Some(kept) if number(kept) == number(*slice) => {
                    let reason = Reason::DuplicateOf(kept.index);
                    split.duplicates.push(LeftOut { index: slice.index, reason });
                    continue;
                }
                _ => previous = Some(*slice),
            }
            if passes.len() == pass {
                passes.push(Vec::new());
            }
            passes[pass].push(*slice);
            pass += 1;
        }
    }
    // One odd repeat is not a pass of its own: a slice that was taken again.
    let longest = passes.first().map_or(0, Vec::len);
    let is_pass = |pass: &Vec<Slice>| pass.len() * 2 > longest;
    let (kept, odd): (Vec<_>, Vec<_>) = passes.into_iter().partition(is_pass);
    for slice in odd.into_iter().flatten() {
        let twin = kept[0].iter().find(|other| (other.height - slice.height).abs() <= SAME_PLACE_MM);
        let reason = twin.map_or(Reason::BadGeometry, |twin| Reason::DuplicateOf(twin.index));
        split.duplicates.push(LeftOut { index: slice.index, reason });
    }
    let several = kept.len() > 1;
    for (pass, slices) in kept.into_iter().enumerate() {
        let own = several.then(|| format!("pass {}", pass + 1));
        let parts: Vec<String> = name.clone().into_iter().chain(own).collect();
        split.parts.push((slices, (!parts.is_empty()).then(|| parts.join(", "))));
    }
}

/// Runs of sorted slices at one place.
fn places(slices: &[Slice]) -> Vec<&[Slice]> {
    slices.chunk_by(|a, b| b.height - a.height <= SAME_PLACE_MM).collect()
}

/// Keeps the order of slices, and of values as they first appear; `None` when there are
/// more than `values_max` values.
fn partition(
    slices: &[Slice],
    values_max: usize,
    value_of: impl Fn(&Slice) -> String,
) -> Option<Vec<(String, Vec<Slice>)>> {
    let mut parts: Vec<(String, Vec<Slice>)> = Vec::new();
    for slice in slices {
        let value = value_of(slice);
        match parts.iter().position(|(known, _)| *known == value) {
            Some(known) => parts[known].1.push(*slice),
            None if parts.len() == values_max => return None,
            None => parts.push((value, vec![*slice])),
        }
    }
    Some(parts)
}

fn number(value: Option<f64>, unit: &str) -> String {
    // Rounded: scanners write the same echo time as 4.92 and 4.9200001.
    value.map_or_else(String::new, |value| format!("{} {unit}", (value * 1000.0).round() / 1000.0))
}

fn integer(value: Option<i32>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}
