//! What reaches a terminal: text, and colours that were asked for, nothing else.

use monoco_tests::{Project, Terminal};

use crate::campaign::Campaign;

/// Every listing, and `id` in every way, on a terminal.
pub(super) fn check(
    project: &Project,
    id: Option<&str>,
    campaign: &mut Campaign,
) -> Result<(), String> {
    let id = id.unwrap_or("none");
    let looks = [
        "ps -a".to_owned(),
        "ps -a --json".to_owned(),
        "doctor".to_owned(),
        format!("show {id}"),
        format!("show --json {id}"),
        format!("logs {id}"),
        format!("suspend {id}"),
    ];
    let script = looks.map(|look| format!("\"$monoco\" {look}"));
    let script = format!("export NO_COLOR=1; {}; true", script.join("; "));
    let Some(terminal) = Terminal::open(project, &script) else {
        campaign.skip("no terminal without script(1)");
        return Ok(());
    };
    let shown = terminal.finish();
    if shown.code != 0 {
        return Err(format!("on a terminal: {shown}"));
    }
    campaign.count("terminals");
    let shown = without_colours(&shown.out());
    let is_obeyed = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    match shown.lines().find(|line| line.contains(is_obeyed)) {
        Some(line) => Err(format!("a terminal obeys {line:?}")),
        None => Ok(()),
    }
}

/// Logs may have colours (SGR), which change nothing but colours.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let parameters =
            part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';' || c == ':');
        match parameters.strip_prefix('m') {
            Some(rest) => plain.push_str(rest),
            None => {
                plain.push_str("\u{1b}[");
                plain.push_str(part);
            }
        }
    }
    plain
}
