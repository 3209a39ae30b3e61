//! dcmqi's JSON: `segmentAttributes`, one list for each input file; here there is one file.

use std::path::Path;

use imaging::{Code, Uid};
use serde::Deserialize;

use super::{Description, DescriptionError, check_label};
use crate::{AlgorithmType, Segment};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct File {
    series_description: Option<String>,
    #[serde(rename = "segmentAttributes")]
    segment_attributes: Vec<Vec<Attributes>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attributes {
    #[serde(rename = "labelID")]
    label_id: u64,
    segment_label: Option<String>,
    segment_description: Option<String>,
    segment_algorithm_type: Option<String>,
    segment_algorithm_name: Option<String>,
    #[serde(rename = "recommendedDisplayRGBValue")]
    color: Option<[u8; 3]>,
    segmented_property_category_code_sequence: JsonCode,
    segmented_property_type_code_sequence: JsonCode,
    segmented_property_type_modifier_code_sequence: Option<JsonCode>,
    anatomic_region_sequence: Option<JsonCode>,
    anatomic_region_modifier_sequence: Option<JsonCode>,
    tracking_identifier: Option<String>,
    tracking_unique_identifier: Option<Uid>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct JsonCode {
    code_value: String,
    coding_scheme_designator: String,
    code_meaning: String,
}

impl From<JsonCode> for Code {
    fn from(code: JsonCode) -> Self {
        Self { value: code.code_value, scheme: code.coding_scheme_designator, meaning: code.code_meaning }
    }
}

pub(super) fn parse(path: &Path, text: &str) -> Result<Description, DescriptionError> {
    let file: File = serde_json::from_str(text)
        .map_err(|source| DescriptionError::Json { path: path.to_owned(), source })?;
    let segments: Vec<Segment> = file
        .segment_attributes
        .into_iter()
        .flatten()
        .map(|attributes| {
            let value = attributes.label_id;
            attributes.segment().map_err(|problem| DescriptionError::Label {
                path: path.to_owned(),
                value,
                problem,
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Description { segments, name: file.series_description, version: None })
}

impl Attributes {
    fn segment(self) -> Result<Segment, String> {
        let code = |code: Option<JsonCode>| code.map(Code::from);
        let category = Code::from(self.segmented_property_category_code_sequence);
        let property_type = Code::from(self.segmented_property_type_code_sequence);
        let type_modifier = code(self.segmented_property_type_modifier_code_sequence);
        let region = code(self.anatomic_region_sequence);
        let region_modifier = code(self.anatomic_region_modifier_sequence);
        let codes = [
            Some(&category),
            Some(&property_type),
            type_modifier.as_ref(),
            region.as_ref(),
            region_modifier.as_ref(),
        ];
        let value = check_label(self.label_id, &codes)?;
        let label = self
            .segment_label
            .or_else(|| self.segment_description.clone())
            .unwrap_or_else(|| property_type.meaning.clone());
        Ok(Segment {
            description: self.segment_description,
            type_modifier,
            region,
            region_modifier,
            color: self.color,
            algorithm_type: algorithm_type(self.segment_algorithm_type.as_deref())?,
            algorithm_name: self.segment_algorithm_name,
            tracking: self.tracking_identifier.zip(self.tracking_unique_identifier),
            ..Segment::new(value, &label, category, property_type)
        })
    }
}

fn algorithm_type(text: Option<&str>) -> Result<AlgorithmType, String> {
    match text {
        None | Some("AUTOMATIC") => Ok(AlgorithmType::Automatic),
        Some("SEMIAUTOMATIC") => Ok(AlgorithmType::SemiAutomatic),
        Some("MANUAL") => Ok(AlgorithmType::Manual),
        Some(other) => Err(format!("has the algorithm type {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_become_segments() {
        let text = r#"{"ContentCreatorName": "Reader1", "SeriesDescription": "Segmentation", "SeriesNumber": "300",
          "segmentAttributes": [[{"labelID": 2, "SegmentDescription": "kidneys", "SegmentAlgorithmType": "MANUAL",
            "recommendedDisplayRGBValue": [185, 102, 83],
            "SegmentedPropertyCategoryCodeSequence":
              {"CodeValue": "123037004", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Anatomical Structure"},
            "SegmentedPropertyTypeCodeSequence":
              {"CodeValue": "64033007", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Kidney"},
            "SegmentedPropertyTypeModifierCodeSequence":
              {"CodeValue": "7771000", "CodingSchemeDesignator": "SCT", "CodeMeaning": "Left"}}]]}"#;
        let description = parse(Path::new("meta.json"), text).expect("the file is right");
        let [segment] = &description.segments[..] else { panic!("one label") };
        assert_eq!(
            (segment.value, segment.label.as_str(), segment.color),
            (2, "kidneys", Some([185, 102, 83]))
        );
        assert_eq!(segment.type_modifier, Some(Code::new("7771000", "SCT", "Left")));
        assert_eq!(segment.algorithm_type, AlgorithmType::Manual);
    }
}
