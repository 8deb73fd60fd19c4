//! The API's description and the API: what the one promises, the other does, as a
//! stranger's program (schemathesis) finds that reads the description and tries.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Instant;

use monoco_tests::{Project, RawServer, note, skip};
use serde_json::Value;

/// What every request of the program is checked for. That values of the right shape
/// are accepted is not: a cursor is any text by its shape.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_headers_conformance,response_schema_conformance,negative_data_rejection,\
    unsupported_method,allow_header_conformance,ignored_auth";

#[test]
fn the_document_is_whole() {
    let project = Project::new();
    let server = RawServer::start(&project, &[]);
    let document = server.get("/openapi.json").is(200).json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut seen = BTreeSet::new();
    references(&document, &mut seen);
    for reference in &seen {
        let pointer = reference.strip_prefix('#').expect("it is in the document");
        assert!(document.pointer(pointer).is_some(), "no {reference}");
    }
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let name = operation["operationId"].as_str().expect("a name");
            assert!(names.insert(name.to_owned()), "{name} is there twice");
            for (status, response) in operation["responses"].as_object().expect("responses") {
                // Without one the document is not valid, and generators refuse it.
                let description = response["description"].as_str().unwrap_or_default();
                assert!(!description.is_empty(), "{method} {path}: {status}");
            }
        }
    }
}

fn references(value: &Value, seen: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                seen.insert(reference.to_owned());
            }
            fields.values().for_each(|value| references(value, seen));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, seen)),
        _ => {}
    }
}

/// The command that runs schemathesis, from its version 4 on.
fn schemathesis() -> Option<String> {
    let named = std::env::var("MONOCO_SCHEMATHESIS");
    let command = named.unwrap_or_else(|_| "schemathesis".to_owned());
    let version = Command::new(&command).arg("--version").output().ok();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    match version {
        Some(version) if version.contains("version 4.") => Some(command),
        Some(version) => {
            skip(&format!("schemathesis 4 is needed, not {}", version.trim()));
            None
        }
        None => {
            skip("no schemathesis (`pip install schemathesis`, or name it in MONOCO_SCHEMATHESIS)");
            None
        }
    }
}

#[test]
fn the_api_is_what_its_document_says() {
    let Some(schemathesis) = schemathesis() else {
        return;
    };
    let project = Project::new();
    let mut ids = vec!["broken".to_owned(), "nobody-has-this".to_owned()];
    for _ in 0..6 {
        ids.push(project.start(&["--label", "a=b"], &["sleep", "1000"]));
        ids.push(project.start(&[], &["sh", "-c", "echo text; exit 3"]));
    }
    let (suspended, _) = project.start_agent(&["--issue", "FEAT-1"], &["sleep"], 1);
    project.run(&["suspend", &suspended]).ok();
    ids.push(suspended);
    let not_found = project.run(&["run", "--", "/nowhere"]);
    assert_eq!(not_found.code, 127, "{not_found}");
    std::fs::write(project.record_path("broken"), "{").expect("a writable project");

    let server = RawServer::start(&project, &[]);
    let config = project.path().join("schemathesis.toml");
    // To follow a log does not end, and is left out.
    let text = format!(
        "[headers]\nAuthorization = \"Bearer {}\"\n[dictionaries.ids]\nvalues = {ids:?}\n\
         [parameters]\n\"path.id\" = {{ dictionary = \"ids\" }}\n\"query.follow\" = false\n",
        server.token()
    );
    std::fs::write(&config, text).expect("a writable project");
    // Far beyond what it takes.
    let mut command = Command::new("timeout");
    command.args(["100", &schemathesis]);
    let base = format!("http://{}", server.address());
    command
        .arg("--config-file")
        .arg(&config)
        .args(["run", &format!("{base}/openapi.json"), "--url", &base])
        .args(["--checks", CHECKS, "--warnings", "off", "--no-color"])
        .args(["--max-examples", "20", "--request-timeout", "5"])
        .args(["--generation-deterministic", "--continue-on-failure"])
        // Events do not end. And it would start programs of any name, as whoever
        // runs the tests: that operation is tested by hand.
        .args(["--exclude-path", "/api/v1/events"])
        .args(["--exclude-operation-id", "start"]);
    let start = Instant::now();
    let output = project.at_home(command).output();
    let output = output.expect("timeout(1) is there");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    let tail = out.lines().rev().take(150).collect::<Vec<_>>();
    let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
    assert!(output.status.success(), "{tail}\n{err}\n{}", server.said());
    let cases = out.lines().find(|line| line.contains("generated"));
    note(&format!(
        "schemathesis: {} in {:?}",
        cases.unwrap_or_default().trim(),
        start.elapsed()
    ));
    server.get("/health").is(200);
    // Nothing that was sent started anything.
    let started = project.ids(&["-a"]);
    assert!(started.len() <= ids.len() + 1, "{started:?}");
}
