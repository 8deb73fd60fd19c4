//! Any bytes in the place of an id.

use std::path::{Component, Path};

use session_core::{SessionId, Status, Timestamp};

/// What is taken as an id is one, by its definition and by what it is used for; of
/// what is not, the reason is short and harmless. The same for the other words that
/// people and records say.
///
/// # Panics
/// When that does not hold.
pub fn check_id(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let parsed = SessionId::parse(text);
    assert_eq!(parsed.is_ok(), is_id(text), "{text:?}");
    let quoted = serde_json::to_string(text).expect("a string");
    let read = serde_json::from_str::<SessionId>(&quoted);
    assert_eq!(read.ok(), parsed.clone().ok(), "{text:?}");
    match parsed {
        Ok(id) => check_use(&id, text),
        Err(error) => check_reason(&error),
    }
    if let Err(error) = text.parse::<Status>() {
        check_reason(&error);
    }
    match Timestamp::parse(text) {
        Ok(time) => assert_eq!(Timestamp::parse(&time.to_string()), Ok(time)),
        Err(error) => check_reason(&error),
    }
}

/// `[a-z0-9][a-z0-9_-]{0,63}`, in other words.
fn is_id(text: &str) -> bool {
    let first = "abcdefghijklmnopqrstuvwxyz0123456789";
    let all = text
        .chars()
        .all(|c| first.contains(c) || c == '_' || c == '-');
    let begins = text.chars().next().is_some_and(|c| first.contains(c));
    all && begins && text.chars().count() <= 64
}

fn check_use(id: &SessionId, text: &str) {
    assert_eq!((id.as_str(), id.to_string().as_str()), (text, text));
    assert!(text.starts_with(id.short()) && !id.short().is_empty());
    for name in [format!("{id}.json"), format!("{id}.log"), id.to_string()] {
        let mut components = Path::new(&name).components();
        let only = components.next();
        assert!(matches!(only, Some(Component::Normal(only)) if only == name.as_str()));
        assert!(components.next().is_none() && name.len() <= 255);
    }
    assert_eq!(text.to_lowercase(), text, "no two differ by case only");
}

fn check_reason(error: &impl std::error::Error) {
    let reason = error.to_string();
    assert!(reason.len() <= 1200, "{reason}");
    assert!(!reason.chars().any(char::is_control), "{reason:?}");
}
