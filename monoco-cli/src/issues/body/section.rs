//! What a section is for, by its heading, in Chinese and in English.

/// What a section is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    /// What is to be done.
    Tasks,
    /// By what it is known that all is done.
    Criteria,
    /// What was said about it.
    Review,
    Other,
}

/// The headings of the original program, and what people write instead. What
/// stands further up wins: `验收任务` is about criteria.
const WORDS: [(Section, &[&str]); 3] = [
    (
        Section::Criteria,
        &["acceptance", "acceptance criteria", "验收", "交付目标"],
    ),
    (
        Section::Review,
        &["review", "reviews", "评审", "复盘", "审查", "确认事项"],
    ),
    (
        Section::Tasks,
        &[
            "task",
            "tasks",
            "key deliverables",
            "child features",
            "stories",
            "requirements",
            "implementation",
            "delivery",
            "plan",
            "任务",
            "工作包",
            "关键交付",
            "重点工作",
            "子功能",
            "子故事",
            "需求",
            "实现",
            "交付",
            "规划",
        ],
    ),
];

/// The section that begins with `heading`, below one that is for `enclosing`.
pub(super) fn of(heading: &str, enclosing: Option<Section>) -> Section {
    let heading = heading.to_lowercase();
    // What a review says about the implementation is a review.
    if enclosing == Some(Section::Review) {
        return Section::Review;
    }
    let begins_with_id = heading
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .next()
        .is_some_and(|word| crate::issues::is_id(&word.to_uppercase()));
    let known = WORDS
        .iter()
        .find(|(_, words)| words.iter().any(|word| contains(&heading, word)));
    match known {
        Some((section, _)) if !begins_with_id => *section,
        _ => enclosing.unwrap_or(Section::Other),
    }
}

/// Whether `word` is in `heading`: English ones as whole words (`plan` is not in
/// `explanation`), Chinese ones anywhere.
fn contains(heading: &str, word: &str) -> bool {
    heading.match_indices(word).any(|(start, _)| {
        let is_letter = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let (before, after) = (&heading[..start], &heading[start + word.len()..]);
        !word.is_ascii()
            || !(is_letter(before.chars().next_back()) || is_letter(after.chars().next()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(heading: &str, expected: Section) {
        assert_eq!(of(heading, None), expected, "{heading}");
    }

    #[test]
    fn headings_are_known_in_two_languages() {
        check("Technical Tasks", Section::Tasks);
        check("技术任务 (Technical Tasks)", Section::Tasks);
        check("Implementation Plan", Section::Tasks);
        check("Acceptance Criteria", Section::Criteria);
        check("验收标准", Section::Criteria);
        check("Review Comments", Section::Review);
        check("评审备注", Section::Review);
        check("确认事项", Section::Review);
    }

    #[test]
    fn what_only_looks_like_one() {
        for heading in [
            "Explanation",
            "Preview",
            "背景与目标",
            "FEAT-0138: 实现持久化",
            "Multitasking",
        ] {
            check(heading, Section::Other);
        }
        let part = of("Part 1", Some(Section::Tasks));
        assert_eq!(part, Section::Tasks);
        assert_eq!(of("Tasks", Some(Section::Review)), Section::Review);
    }
}
