//! `[[output.label]]` tables; the rest of a package is not looked at.

use std::path::Path;

use imaging::Code;
use serde::Deserialize;

use super::{Description, DescriptionError, check_label};
use crate::Segment;

#[derive(Debug, Deserialize)]
struct Package {
    name: Option<String>,
    id: Option<String>,
    version: Option<String>,
    output: Output,
}

#[derive(Debug, Deserialize)]
struct Output {
    label: Vec<Label>,
}

#[derive(Debug, Deserialize)]
struct Label {
    value: u64,
    name: String,
    category: [String; 3],
    #[serde(rename = "type")]
    property_type: [String; 3],
    region: Option<[String; 3]>,
    color: Option<String>,
}

pub(super) fn parse(path: &Path, text: &str) -> Result<Description, DescriptionError> {
    let package: Package = toml::from_str(text)
        .map_err(|source| DescriptionError::Toml { path: path.to_owned(), source: Box::new(source) })?;
    let segments = package
        .output
        .label
        .into_iter()
        .map(|label| {
            let value = label.value;
            label.segment().map_err(|problem| DescriptionError::Label {
                path: path.to_owned(),
                value,
                problem,
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Description { segments, name: package.name.or(package.id), version: package.version })
}

impl Label {
    fn segment(self) -> Result<Segment, String> {
        let category = code(self.category);
        let property_type = code(self.property_type);
        let region = self.region.map(code);
        let value = check_label(self.value, &[Some(&category), Some(&property_type), region.as_ref()])?;
        let color = self.color.as_deref().map(color).transpose()?;
        Ok(Segment { region, color, ..Segment::new(value, &self.name, category, property_type) })
    }
}

/// Code, scheme, meaning.
fn code([value, scheme, meaning]: [String; 3]) -> Code {
    Code { value, scheme, meaning }
}

/// `#rrggbb`.
fn color(text: &str) -> Result<[u8; 3], String> {
    let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6);
    let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let [_, red, green, blue] =
        number.ok_or(format!("has the color {text:?}, not \"#rrggbb\""))?.to_be_bytes();
    Ok([red, green, blue])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(color: &str, scheme: &str, value: u64) -> Result<Description, DescriptionError> {
        let text = format!(
            r##"
            id = "probe"
            version = "1"
            [window]
            roi = [1, 2, 3]
            [[output.label]]
            value = {value}
            name = "Liver"
            category = ["123037004", "SCT", "Anatomical Structure"]
            type = ["10200004", "{scheme}", "Liver"]
            color = "{color}"
            "##
        );
        parse(Path::new("model.toml"), &text)
    }

    #[test]
    fn a_whole_package_describes_its_labels() {
        let description = labels("#dd8265", "SCT", 3).expect("the package is right");
        assert_eq!(description.name.as_deref(), Some("probe"));
        let [segment] = &description.segments[..] else { panic!("one label") };
        assert_eq!((segment.value, segment.color), (3, Some([0xdd, 0x82, 0x65])));
        assert_eq!(segment.property_type, Code::new("10200004", "SCT", "Liver"));
    }

    #[track_caller]
    fn check_refused(color: &str, scheme: &str, value: u64, expected: &str) {
        let error = labels(color, scheme, value).expect_err("the label is wrong").to_string();
        assert_eq!(error, format!("model.toml: label {value} {expected}"));
    }

    #[test]
    fn wrong_labels_are_named() {
        check_refused("red", "SCT", 3, "has the color \"red\", not \"#rrggbb\"");
        check_refused(
            "#dd8265",
            "SRT",
            3,
            "has the code 10200004 (Liver) of the retired scheme SRT: use SCT",
        );
        check_refused("#dd8265", "SCT", 0, "is the background and not described");
        check_refused("#dd8265", "SCT", 70_000, "is larger than 65535");
    }
}
