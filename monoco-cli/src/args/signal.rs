//! Signals by name or number, as kill(1) takes them.

use std::str::FromStr;

use rustix::process::Signal;

/// The signals a session can be sent, by the names of signal(7).
const SIGNALS: [(&str, Signal); 31] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("ILL", Signal::ILL),
    ("TRAP", Signal::TRAP),
    ("ABRT", Signal::ABORT),
    ("BUS", Signal::BUS),
    ("FPE", Signal::FPE),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("SEGV", Signal::SEGV),
    ("USR2", Signal::USR2),
    ("PIPE", Signal::PIPE),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("STKFLT", Signal::STKFLT),
    ("CHLD", Signal::CHILD),
    ("CONT", Signal::CONT),
    ("STOP", Signal::STOP),
    ("TSTP", Signal::TSTP),
    ("TTIN", Signal::TTIN),
    ("TTOU", Signal::TTOU),
    ("URG", Signal::URG),
    ("XCPU", Signal::XCPU),
    ("XFSZ", Signal::XFSZ),
    ("VTALRM", Signal::VTALARM),
    ("PROF", Signal::PROF),
    ("WINCH", Signal::WINCH),
    ("IO", Signal::IO),
    ("PWR", Signal::POWER),
    ("SYS", Signal::SYS),
];

/// The number of a signal that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SignalNumber(pub(crate) i32);

/// The name of a signal, without `SIG`.
pub(crate) fn name(number: i32) -> Option<&'static str> {
    SIGNALS
        .into_iter()
        .find(|(_, signal)| signal.as_raw() == number)
        .map(|(name, _)| name)
}

impl FromStr for SignalNumber {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let word = text.to_ascii_uppercase();
        let word = word.strip_prefix("SIG").unwrap_or(&word);
        let number = word.parse().ok();
        SIGNALS
            .into_iter()
            .find(|(name, signal)| *name == word || Some(signal.as_raw()) == number)
            .map(|(_, signal)| Self(signal.as_raw()))
            .ok_or_else(|| "expected a signal, such as TERM, SIGINT or 9".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["KILL", "SIGKILL", "kill", "sigkill", "9"] {
            assert_eq!(text.parse(), Ok(SignalNumber(9)), "{text}");
        }
        for bad in ["", "SIG", "0", "-9", "65", "NOPE", "SIGSIGKILL", "9x"] {
            assert!(bad.parse::<SignalNumber>().is_err(), "{bad}");
        }
        assert_eq!((name(15), name(64)), (Some("TERM"), None));
    }
}
