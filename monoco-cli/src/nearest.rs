//! The right name for a wrong one.

/// How much alike two names must be, of 1: one slip in a short word, more in a long one.
const ALIKE: f64 = 0.6;
/// A match of the last parts only is worth a little less than one of the whole.
const LAST_PART: f64 = 0.99;

/// Says that `name` is unknown, and which one of `known` may have been meant.
pub(crate) fn unknown<'a>(
    what: &str,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> String {
    match nearest(name, known) {
        Some(near) => format!("unknown {what} `{name}`; did you mean `{near}`?"),
        None => format!("unknown {what} `{name}`"),
    }
}

/// The first of those that are most like `name`.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut best = None;
    for candidate in known {
        let alike = likeness(name, candidate);
        if alike >= ALIKE && best.is_none_or(|(most, _)| alike > most) {
            best = Some((alike, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

fn likeness(name: &str, candidate: &str) -> f64 {
    let alike = |a: &str, b: &str| {
        strsim::normalized_damerau_levenshtein(&a.to_lowercase(), &b.to_lowercase())
    };
    let last = |name| str::rsplit(name, '.').next().unwrap_or(name).to_owned();
    alike(name, candidate).max(alike(&last(name), &last(candidate)) * LAST_PART)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_found_or_none() {
        let known = ["run.timeout", "run.role", "hooks.timeout"];
        let check = |name, expected| assert_eq!(nearest(name, known), expected, "{name}");
        check("run.timout", Some("run.timeout"));
        check("hooks.timout", Some("hooks.timeout"));
        check("timeout", Some("run.timeout"));
        check("Run.Role", Some("run.role"));
        check("run.rloe", Some("run.role"));
        check("colour", None);
        check("", None);
    }
}
