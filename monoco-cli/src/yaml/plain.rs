//! What an unquoted word means: as PyYAML has it, which wrote most of what we read.

use super::Value;

/// What an unquoted word means.
pub(super) fn value(text: &str) -> Value {
    match text.to_ascii_lowercase().as_str() {
        "" | "~" | "null" => Value::Null,
        "yes" | "no" | "true" | "false" | "on" | "off" => Value::Bool,
        lower if is_number(lower) => Value::Number(text.to_owned()),
        _ => Value::Text(text.to_owned()),
    }
}

/// As YAML 1.1 has integers and floats, without those to base 60.
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(text, ".inf" | ".nan") {
        return true;
    }
    let all = |text: &str, digit: fn(&u8) -> bool| {
        !text.is_empty() && text.bytes().all(|b| digit(&b) || b == b'_')
    };
    if let Some(hex) = text.strip_prefix("0x") {
        return all(hex, u8::is_ascii_hexdigit);
    }
    if let Some(binary) = text.strip_prefix("0b") {
        return all(binary, |b| matches!(b, b'0' | b'1'));
    }
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let Some(fraction) = fraction else {
        let octal = whole.len() > 1 && whole.starts_with('0');
        return whole.starts_with(|c: char| c.is_ascii_digit())
            && all(whole, u8::is_ascii_digit)
            && (!octal || all(whole, |b| (b'0'..=b'7').contains(b)));
    };
    let (digits, exponent) = match fraction.split_once('e') {
        Some((digits, exponent)) => (digits, Some(exponent)),
        None => (fraction, None),
    };
    let signed = |exponent: &str| {
        let unsigned = exponent.strip_prefix(['+', '-']);
        unsigned.is_some_and(|digits| all(digits, u8::is_ascii_digit))
    };
    (all(whole, u8::is_ascii_digit) || whole.is_empty() && all(digits, u8::is_ascii_digit))
        && (digits.is_empty() || all(digits, u8::is_ascii_digit))
        && exponent.is_none_or(signed)
}
