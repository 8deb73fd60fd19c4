//! Labels: `key=value` to set one, `key` or `key=value` to look for one.

use std::collections::BTreeMap;
use std::str::FromStr;

/// The longest key, in bytes.
const MAX_KEY_LEN: usize = 63;

/// A label to set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) key: String,
    pub(crate) value: String,
}

/// A label to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LabelFilter {
    key: String,
    value: Option<String>,
}

impl LabelFilter {
    pub(crate) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let found = labels.get(&self.key);
        found.is_some_and(|found| self.value.as_ref().is_none_or(|value| value == found))
    }
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text
            .split_once('=')
            .ok_or("expected KEY=VALUE, such as team=core")?;
        Ok(Self {
            key: checked_key(key)?,
            value: value.to_owned(),
        })
    }
}

impl FromStr for LabelFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text, None),
        };
        Ok(Self {
            key: checked_key(key)?,
            value,
        })
    }
}

/// What a label may be called.
pub(crate) fn checked_key(key: &str) -> Result<String, String> {
    let inner = |b: &u8| b.is_ascii_alphanumeric() || b"._/-".contains(b);
    let bytes = key.as_bytes();
    let valid = bytes.len() <= MAX_KEY_LEN
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(inner);
    if valid {
        Ok(key.to_owned())
    } else {
        Err(format!(
            "a label's key is 1 to {MAX_KEY_LEN} of A-Z, a-z, 0-9, `.`, `_`, `/` and `-`, \
             beginning with a letter or a digit"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_checked_and_values_are_free() {
        for good in ["a=", "team=core", "example.com/x_y-z=a = b\n", "0=="] {
            let label: Label = good.parse().expect(good);
            assert_eq!(format!("{}={}", label.key, label.value), good);
        }
        let long = format!("{}=x", "k".repeat(64));
        for bad in [
            "",
            "=",
            "=v",
            "key",
            "-k=v",
            ".k=v",
            "k v=x",
            "k\u{1b}=x",
            "ä=x",
            &long,
        ] {
            assert!(bad.parse::<Label>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_filter_without_a_value_asks_for_the_key() {
        let labels = BTreeMap::from([("team".to_owned(), "core".to_owned())]);
        let matches = |text: &str| text.parse::<LabelFilter>().expect(text).matches(&labels);
        assert!(matches("team") && matches("team=core"));
        assert!(!matches("team=") && !matches("team=cli") && !matches("other"));
    }
}
