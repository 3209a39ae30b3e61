//! The OpenAPI document that is committed is the one that the code makes.

use std::collections::BTreeSet;

use api::Code;

#[test]
fn the_committed_document_is_the_one_of_the_code() {
    let mut document = serde_json::to_value(api::openapi()).unwrap();
    // It changes with every release and says nothing about the interface.
    document["info"]["version"] = "[version]".into();
    insta::assert_json_snapshot!("openapi", document);
}

#[test]
fn every_operation_has_a_summary_a_tag_and_a_name_of_its_own() {
    let document = serde_json::to_value(api::openapi()).unwrap();
    let mut names = BTreeSet::new();
    for (route, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(operation["summary"].is_string(), "{method} {route}");
            assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{method} {route}");
            assert!(names.insert(operation["operationId"].to_string()), "{method} {route}");
        }
    }
}

#[test]
fn every_error_code_is_in_the_documentation() {
    let page = include_str!("../../../docs/API.md");
    for code in Code::ALL {
        assert!(page.contains(&format!("`{}`", code.as_str())), "{} is not in docs/API.md", code.as_str());
    }
}
