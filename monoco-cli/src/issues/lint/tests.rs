//! What the rules make of single files. A folder with a broken issue for each rule
//! is in `tests/issues/broken`.

use proptest::prelude::*;

use super::*;

const SEED: &str = include_str!("../../../../tests/issues/FEAT-0138.md");
const PLACE: &str = "/p/Issues/Features/closed/FEAT-0138-x.md";

fn lint_at(path: &str, text: &str) -> Vec<Finding> {
    let mut checked = [check(Path::new(path), text, None)];
    across::check(&mut checked, true);
    let [checked] = checked;
    finished(checked).findings
}

/// The codes of what is found in the ticket after `from` was replaced in it.
fn changed(from: &str, to: &str) -> Vec<&'static str> {
    assert!(SEED.contains(from), "{from}");
    codes(&SEED.replacen(from, to, 1))
}

fn codes(text: &str) -> Vec<&'static str> {
    let findings = lint_at(PLACE, text);
    findings.iter().map(|finding| finding.rule.code()).collect()
}

#[test]
fn the_ticket_is_as_it_should_be() {
    assert_eq!(lint_at(PLACE, SEED), []);
    assert_eq!(codes(&format!("\n{SEED}")), ["front-matter"]);
    assert_eq!(codes(&SEED.replace('\n', "\r\n")), [""; 0]);
    assert_eq!(codes(SEED.trim_end()), [""; 0]);
}

#[test]
fn fields() {
    assert_eq!(changed("id: FEAT-0138\n", ""), ["missing-field"]);
    assert_eq!(
        changed("id: FEAT-0138\n", "id: feature 138\n"),
        ["field-type"]
    );
    assert_eq!(
        changed("id: FEAT-0138\n", "id: [FEAT-0138]\n"),
        ["field-type"]
    );
    assert_eq!(changed("type: feature\n", "type: ~\n"), ["missing-field"]);
    assert_eq!(changed("type: feature\n", "type: Feature\n"), [""; 0]);
    assert_eq!(changed("type: feature", "type: feat"), ["unknown-type"]);
    assert_eq!(
        changed("parent: EPIC-0000", "parent: #EPIC-0000"),
        ["missing-field"]
    );
    assert_eq!(changed("uid: 5d2c5f", "uid: 52256"), ["field-type"]);
    assert_eq!(changed("uid: 5d2c5f", "uid: 5e2256"), [""; 0]);
    assert_eq!(changed("related: []", "related: EPIC-0000"), ["field-type"]);
    assert_eq!(changed("domains: []", "domains:"), ["field-type"]);
    assert_eq!(
        changed("- '#EPIC-0000'", "- #EPIC-0000"),
        ["missing-tag", "field-type"]
    );
    assert_eq!(
        changed("closed_at: '2026-02-02T11:27:50'", "closed_at: soon"),
        ["field-type"]
    );
    assert_eq!(
        changed("isolation:\n  type: branch", "isolation:\n  type: 7"),
        ["field-type"]
    );
    assert_eq!(changed("  type: branch\n", ""), ["missing-field"]);
    assert_eq!(
        changed("criticality: medium", "criticality: huge"),
        ["unknown-criticality"]
    );
    assert_eq!(
        changed("criticality: medium\n", "theirs: {a: 1}\n"),
        [""; 0]
    );
}

#[test]
fn front_matter() {
    assert_eq!(codes(""), ["front-matter"]);
    assert_eq!(codes("# A page\n"), ["front-matter"]);
    assert_eq!(codes("---\n- a\n---\n"), ["front-matter"]);
    assert_eq!(
        changed("stage: done", "stage: done\nstage: done"),
        ["front-matter"]
    );
    assert_eq!(changed("title: 实", "title: a: 实"), ["front-matter"]);
    assert_eq!(changed("related: []", "related: *a"), ["front-matter"]);
    assert_eq!(changed("---\n\n##", "\n\n##"), ["front-matter"]);
    assert_eq!(changed("title: 实", "title: \0实"), ["front-matter"]);
}

#[test]
fn states() {
    assert_eq!(changed("stage: done", "stage: doing"), ["closed-not-done"]);
    assert_eq!(changed("stage: done\n", ""), ["closed-not-done"]);
    assert_eq!(changed("stage: done", "stage: finished"), ["unknown-stage"]);
    assert_eq!(
        changed("solution: implemented\n", ""),
        ["closed-without-solution"]
    );
    assert_eq!(
        changed("solution: implemented", "solution: done"),
        ["unknown-solution"]
    );
    assert_eq!(changed("status: closed", "status: open"), ["status-folder"]);
    assert_eq!(
        changed("status: closed", "status: shut"),
        ["unknown-status"]
    );
    let backlog = SEED.replacen("status: closed", "status: backlog", 1);
    let found = lint_at("/p/Issues/x/backlog/FEAT-0138.md", &backlog);
    assert_eq!(found[0].rule, Rule::BacklogNotFreezed);
    let freezed = backlog.replacen("stage: done", "stage: freezed", 1);
    assert_eq!(lint_at("/p/Issues/x/backlog/FEAT-0138.md", &freezed), []);
}

#[test]
fn times() {
    let of = |name: &str, from: &str, to: &str| {
        let field = |time: &str| format!("\n{name}: '{time}'");
        changed(&field(from), &field(to))
    };
    let (opened, closed) = ("2026-02-01T20:44:08", "2026-02-02T11:27:50");
    assert_eq!(of("closed_at", closed, "2026-02-01"), ["time-order"]);
    assert_eq!(of("closed_at", closed, opened), [""; 0]);
    assert_eq!(
        of("opened_at", opened, "2026-02-01T20:44:07"),
        ["time-order"]
    );
    assert_eq!(of("created_at", opened, "2026-02-03"), ["time-order"]);
    assert_eq!(of("closed_at", closed, "2026-01-01T00:00:00Z"), [""; 0]);
    let without = SEED.replacen("opened_at: '2026-02-01T20:44:08'\n", "", 1);
    let early = without.replacen("closed_at: '2026-02-02", "closed_at: '2025-02-02", 1);
    assert_eq!(
        (codes(&without), codes(&early)),
        (vec![], vec!["time-order"])
    );
}

#[test]
fn work() {
    assert_eq!(
        changed("- [x] 更新 `Session`", "- [ ] 更新 `Session`"),
        ["open-task"]
    );
    assert_eq!(
        changed("- [x] 更新 `Session`", "- [~] 更新 `Session`"),
        [""; 0]
    );
    assert_eq!(changed("- [x] 所有", "- [~] 所有"), ["unmet-criterion"]);
    assert_eq!(
        changed("## Review Comments", "## Notes"),
        ["review-comments"]
    );
    assert_eq!(changed("1. **Session", "- [ ] **Session"), ["open-task"]);
    assert_eq!(changed("## 技术任务", "## 附注"), ["no-tasks"]);
    assert_eq!(
        changed("## 技术任务", "## Technical Tasks (技术任务)"),
        [""; 0]
    );
    assert_eq!(changed("- [x] 所有", "- [v] 所有"), ["malformed-checkbox"]);
    assert_eq!(
        changed("## 目标", "<!-- TODO: 说明 -->\n## 目标"),
        ["placeholder"]
    );
}

#[test]
fn links() {
    assert_eq!(
        changed("## FEAT-0138:", "## FEAT-0138："),
        ["missing-heading"]
    );
    assert_eq!(
        changed("## FEAT-0138:", "# FEAT-0138:"),
        ["missing-heading"]
    );
    assert_eq!(changed("- '#FEAT-0138'\n", ""), ["missing-tag"]);
    assert_eq!(
        changed("related: []", "related: [FEAT-0001]"),
        ["unknown-reference", "missing-tag"]
    );
    assert_eq!(
        changed("related: []", "related: ['other::FEAT-0001']"),
        ["missing-tag"]
    );
    assert_eq!(
        changed("parent: EPIC-0000", "parent: '#EPIC-0000'"),
        ["hash-in-id"]
    );
    assert_eq!(changed("id: FEAT-0138", "id: '#FEAT-0138'"), ["hash-in-id"]);
    assert_eq!(changed("id: FEAT-0138", "id: FEAT-138")[0], "id-file-name");
}

#[test]
fn a_finding_has_its_place() {
    let text = SEED.replacen("parent: EPIC-0000", "parent: 'EPIC-0404' # 🦀", 1);
    let finding = &lint_at(PLACE, &text)[0];
    let start = finding.range.start;
    assert_eq!(
        (start.line, start.column, finding.range.end.column),
        (9, 8, 19)
    );
    let text = SEED.replacen("- [x] 所有", "🦀 - [x] 所有\n  - [v] 所有", 1);
    let range = lint_at(PLACE, &text)[0].range;
    assert_eq!((range.start.column, range.end.column), (2, range.end.utf16));
}

#[test]
fn files_outside_are_told_so_and_compared() {
    let of = |path: &str| check(Path::new(path), SEED, None);
    let mut checked = [of("/a/FEAT-0138.md"), of("/b/FEAT-0138.md")];
    across::check(&mut checked, false);
    for file in checked {
        let rules: Vec<_> = file.findings.iter().map(|finding| finding.rule).collect();
        assert_eq!(rules, [Rule::DuplicateId, Rule::Unchecked]);
    }
}

/// Pieces of which issues are made, and of which none should be.
fn piece() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "---\n",
        "\n",
        "\r\n",
        "\r",
        "id: FEAT-1\n",
        "status: closed\n",
        "stage: done\n",
        "tags:\n",
        "- '#A'\n",
        "title: '持久化'\n",
        "## ",
        "#",
        "- [",
        "- [x] ",
        "] ",
        "[",
        "{",
        "}",
        "\"",
        "'",
        ": ",
        "? ",
        "&a ",
        "*a",
        "|\n",
        ">-\n",
        "  ",
        "\t",
        "<!--",
        "-->",
        "```",
        "~~~",
        "\u{feff}",
        "\0",
        "🦀",
        "Review Comments\n",
        "技术任务\n",
        "!x ",
        "%YAML 1.1\n",
        "...\n",
        "\u{85}",
        "\u{2028}",
        "created_at: 2026-02-30\n",
    ]);
    prop_oneof![9 => known.prop_map(str::to_owned), 1 => any::<String>()]
}

proptest! {
    #[test]
    fn nothing_makes_the_linter_fail(pieces in prop::collection::vec(piece(), 0..60), fence in any::<bool>()) {
        let text = format!("{}{}", if fence { "---\n" } else { "" }, pieces.concat());
        let document = Document::new(&text);
        for finding in lint_at(PLACE, &text) {
            let (start, end) = (finding.range.start, finding.range.end);
            prop_assert!(start <= end);
            prop_assert!(end.line < document.n_lines());
            prop_assert!(end.column <= document.line(end.line).chars().count());
        }
    }

    #[test]
    fn nor_does_a_damaged_ticket(at in 0..SEED.len(), n in 0usize..40, piece in piece()) {
        let boundary = |at: usize| (at..=SEED.len()).find(|at| SEED.is_char_boundary(*at));
        let (start, end) = (boundary(at).unwrap_or(0), boundary((at + n).min(SEED.len())));
        let damaged = format!("{}{piece}{}", &SEED[..start], &SEED[end.unwrap_or(SEED.len())..]);
        let _ = lint_at(PLACE, &damaged);
    }
}

#[test]
fn length_costs_no_more_than_itself() {
    let started = std::time::Instant::now();
    let front = "---\nid: FEAT-1\ntitle: a\n---\n";
    for pattern in [
        "- [ ",
        "<!--",
        "<!-- a -->",
        "#",
        "`",
        "[",
        "- [x] a\n",
        "## Tasks\n",
        "a <!--",
    ] {
        let text = front.to_owned() + &pattern.repeat((1 << 20) / pattern.len());
        let _ = lint_at(PLACE, &text);
    }
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
