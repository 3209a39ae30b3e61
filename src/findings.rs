//! Findings as people read them on a terminal, from the JSON that every client gets.

use serde_json::Value;

use crate::cli::terminal;

/// A table of what was found, or the sentence why there is none.
pub(crate) fn table(findings: &Value) -> String {
    if let Some(reason) = findings["reason"].as_str() {
        return format!("not analysed: {reason}\n");
    }
    if let Some(segments) = findings["segments"].as_array() {
        let rows: Vec<_> = segments.iter().map(segment).collect();
        return terminal::table(
            &["structure", "volume", "longest diameter", "mean", "where (LPS mm)"],
            &rows,
        );
    }
    if let Some(classes) = findings["classes"].as_array() {
        let winner = findings["winner"].as_u64();
        let rows: Vec<_> = (0_u64..)
            .zip(classes)
            .map(|(idx, class)| {
                let mark = if Some(idx) == winner { "←" } else { "" };
                vec![text(&class["name"]), number(&class["probability"], 3, ""), mark.to_owned()]
            })
            .collect();
        return terminal::table(&["class", "probability", ""], &rows);
    }
    format!("{findings}\n")
}

fn segment(segment: &Value) -> Vec<String> {
    let measures = &segment["measures"];
    if measures.is_null() {
        return vec![
            text(&segment["name"]),
            "not found".to_owned(),
            String::new(),
            String::new(),
            String::new(),
        ];
    }
    let place: Vec<_> =
        measures["centroid_lps"].as_array().into_iter().flatten().map(|axis| number(axis, 0, "")).collect();
    vec![
        text(&segment["name"]),
        number(&measures["volume_ml"], 1, " ml"),
        number(&measures["longest_diameter"]["length_mm"], 1, " mm"),
        number(&measures["mean"], 0, ""),
        place.join(", "),
    ]
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value, digits: usize, unit: &str) -> String {
    value.as_f64().map(|value| format!("{value:.digits$}{unit}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_not_found_is_said() {
        let findings = json!({ "task": "segmentation", "segments": [
            { "name": "Core", "measures": {
                "volume_ml": 12.34, "longest_diameter": { "length_mm": 30.0 }, "mean": 700.2, "centroid_lps": [1.0, -2.4, 3.0] } },
            { "name": "Oedema", "measures": null },
        ]});
        let text = table(&findings);
        assert!(text.contains("12.3 ml") && text.contains("30.0 mm") && text.contains("1, -2, 3"), "{text}");
        assert!(text.contains("not found"), "{text}");
    }

    #[test]
    fn a_reason_is_a_sentence() {
        assert_eq!(
            table(&json!({ "outcome": "not_analysed", "reason": "too thick" })),
            "not analysed: too thick\n"
        );
    }
}
