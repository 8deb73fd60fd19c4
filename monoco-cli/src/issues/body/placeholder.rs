//! What a template left to be filled in.

/// Comments in which templates say what belongs there.
pub(super) fn is_instruction(comment: &str) -> bool {
    const BEGINNINGS: [&str; 12] = [
        "todo",
        "fixme",
        "placeholder",
        "template:",
        "example:",
        "required for review",
        "record review feedback",
        "describe the ",
        "define binary conditions",
        "breakdown into atomic steps",
        "在此",
        "请填写",
    ];
    let comment = comment.to_lowercase();
    BEGINNINGS
        .iter()
        .any(|beginning| comment.starts_with(beginning))
}

/// Lines that nobody has filled in: those of the original program's template, and
/// the words by which people say so.
pub(super) fn is_unfilled(line: &str) -> bool {
    const WORDS: [&str; 12] = [
        "criteria 1",
        "task 1",
        "todo",
        "fixme",
        "tbd",
        "...",
        "…",
        "待定",
        "待补充",
        "待填写",
        "标准 1",
        "任务 1",
    ];
    let line = line
        .trim_start_matches(['-', '*', ' ', '\t'])
        .to_lowercase();
    let bare = line.trim_end_matches([':', '.', '。', '：', ' ']);
    WORDS.contains(&line.as_str()) || WORDS.contains(&bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_has_filled_in() {
        for comment in ["TODO: say why", "Placeholder", "在此记录评审反馈"] {
            assert!(is_instruction(comment), "{comment}");
        }
        for line in ["Task 1", "- TBD.", "...", "待补充：", "Criteria 1"] {
            assert!(is_unfilled(line), "{line}");
        }
    }

    #[test]
    fn what_only_looks_like_it() {
        for comment in ["Status Syntax:", "[ ] To Do", ""] {
            assert!(!is_instruction(comment), "{comment}");
        }
        for line in ["", "Task 10", "Write the todo list", "-"] {
            assert!(!is_unfilled(line), "{line}");
        }
    }
}
