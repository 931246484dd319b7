//! The description of the calls is of these calls.

use std::collections::HashSet;

use axum::http::Method;
use serde_json::Value;

use crate::support::office::Office;

#[tokio::test]
async fn the_description_is_openapi_3_1_and_whole() {
    let office = Office::selling(5).await;
    let answer = office.call(Method::GET, "/openapi.json", &[], "").await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
    let document = answer.json;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{document}");
    let operations = operations(&document);
    let ids: HashSet<&str> =
        operations.iter().map(|(.., operation)| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), operations.len(), "each has a name of its own: {ids:?}");
    assert!(references(&document).iter().all(|reference| document.pointer(reference).is_some()));
    for call in
        ["post /purchase", "post /pay/{order}", "post /api/orders", "post /api/payments/webhook", "get /ws"]
    {
        assert!(operations.iter().any(|(method, path, _)| format!("{method} {path}") == call), "{call}");
    }
}

#[tokio::test]
async fn every_described_call_is_there_and_fails_as_described() {
    let office = Office::selling(5).await;
    let document = office.call(Method::GET, "/openapi.json", &[], "").await.json;
    for (method, path, operation) in operations(&document) {
        let address = path.replace(['{', '}'], "");
        if operation["security"].as_array().is_some_and(Vec::is_empty) && method == "get" {
            continue;
        }
        let answer = office.call(method.to_uppercase().parse().unwrap(), &address, &[], "").await;
        assert_ne!(answer.json["code"], "method-not-allowed", "{method} {path}");
        if answer.status.is_success() {
            assert!(
                operation["responses"].get(answer.status.as_str()).is_some(),
                "{method} {path}: {answer:?}"
            );
            continue;
        }
        // What is missing differs; that it is a problem, as the description says of every failure, does not.
        assert_eq!(answer.header("content-type"), "application/problem+json", "{method} {path}: {answer:?}");
        assert!(operation["responses"]["default"]["content"]["application/problem+json"].is_object());
        let problem = &document["components"]["schemas"]["Problem"];
        for field in problem["required"].as_array().unwrap() {
            assert!(answer.json.get(field.as_str().unwrap()).is_some(), "{method} {path}: no {field}");
        }
    }
}

/// Method, path and description of each call.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, &Value)| {
        let methods = item.as_object().unwrap().iter();
        methods
            .map(|(method, operation)| (method.clone(), path.clone(), operation.clone()))
            .collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

/// Where all `$ref` of the document point to.
fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let own = fields
                .get("$ref")
                .and_then(Value::as_str)
                .map(|text| text.trim_start_matches('#').to_owned());
            fields.values().flat_map(references).chain(own).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}
