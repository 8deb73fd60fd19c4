//! Ids as short as they can be told apart.

use std::collections::HashMap;

use session_core::SessionId;

/// How much of each id to show: its first eight characters, or as many more as
/// it takes to tell it from the others.
pub(super) fn short<'a>(ids: impl Iterator<Item = &'a SessionId>) -> HashMap<&'a str, &'a str> {
    let mut ids: Vec<&str> = ids.map(SessionId::as_str).collect();
    ids.sort_unstable();
    // Among sorted neighbours stands the one with the longest common prefix.
    let neighbours = |i: usize| {
        let before = i.checked_sub(1).and_then(|before| ids.get(before));
        before.into_iter().chain(ids.get(i + 1))
    };
    (0..ids.len())
        .map(|i| {
            let id = ids[i];
            let shared = neighbours(i)
                .map(|other| common_prefix(id, other))
                .max()
                .unwrap_or(0);
            (id, &id[..id.len().min(8.max(shared + 1))])
        })
        .collect()
}

fn common_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_as_long_as_it_takes() {
        let ids = [
            "36f675cc-81e7",
            "36f675cc-81e8",
            "a",
            "ab",
            "other-long-name",
        ];
        let ids = ids.map(|id| SessionId::parse(id).expect("an id"));
        let short = short(ids.iter());
        let shown = ids.each_ref().map(|id| short[id.as_str()]);
        assert_eq!(
            shown,
            ["36f675cc-81e7", "36f675cc-81e8", "a", "ab", "other-lo"]
        );
    }
}
