//! Making two runs look alike.

use serde_json::Value;

/// The fields whose values differ.
const VOLATILE: [&str; 13] = [
    "id",
    "parent_id",
    "created_at",
    "updated_at",
    "started_at",
    "ended_at",
    "since",
    "pid",
    "cwd",
    "host",
    "boot_id",
    "pid_namespace",
    "start_ticks",
];

/// `json` with everything replaced that differs between two runs: ids, times,
/// pids, the project's path and the machine.
#[must_use]
pub fn redacted(mut json: Value) -> Value {
    redact(&mut json);
    json
}

fn redact(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(redact),
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                if VOLATILE.contains(&name.as_str()) && !value.is_null() {
                    *value = format!("[{name}]").into();
                } else if let ("branch_name", Value::String(branch)) = (name.as_str(), &*value) {
                    *value = redacted_branch(branch).into();
                } else {
                    redact(value);
                }
            }
        }
        _ => {}
    }
}

fn redacted_branch(branch: &str) -> String {
    match branch.rsplit_once('/') {
        Some((before, _)) => format!("{before}/[short]"),
        None => branch.to_owned(),
    }
}

/// The same for the text of a record, with its fields in their order.
#[must_use]
pub fn redacted_text(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(redacted_line).collect();
    lines.join("\n")
}

fn redacted_line(line: &str) -> String {
    let Some((name, value)) = line.split_once(": ") else {
        return line.to_owned();
    };
    let (value, comma) = value
        .strip_suffix(',')
        .map_or((value, ""), |value| (value, ","));
    let value = match name.trim().trim_matches('"') {
        volatile if VOLATILE.contains(&volatile) && value != "null" => format!("[{volatile}]"),
        "branch_name" => format!("\"{}\"", redacted_branch(value.trim_matches('"'))),
        _ => value.to_owned(),
    };
    format!("{name}: {value}{comma}")
}
