//! The agents that people use, as they are set up to ask the stand-in: in a home of
//! their own, with a key that opens nothing.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Where a conversation's id comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Id {
    /// We give a UUID.
    Given,
    /// It stands at this JSON pointer of the first line printed.
    Learned(&'static str),
}

/// An agent's program.
#[derive(Debug)]
pub(crate) struct Real {
    /// Its name, which is its program's, too.
    pub(crate) name: &'static str,
    pub(crate) id: Id,
    /// Its arguments for a new conversation; `PROMPT` and `ID` are put in.
    pub(crate) new: &'static [&'static str],
    /// Its arguments for one that goes on.
    pub(crate) resume: &'static [&'static str],
}

pub(crate) const REAL: [Real; 5] = [
    Real {
        name: "claude",
        id: Id::Given,
        new: &[
            "-p",
            "PROMPT",
            "--session-id",
            "ID",
            "--output-format",
            "stream-json",
            "--verbose",
        ],
        resume: &[
            "-p",
            "PROMPT",
            "--resume",
            "ID",
            "--output-format",
            "stream-json",
            "--verbose",
        ],
    },
    Real {
        name: "codex",
        id: Id::Learned("/thread_id"),
        new: &["exec", "--json", "--skip-git-repo-check", "PROMPT"],
        resume: &[
            "exec",
            "--json",
            "--skip-git-repo-check",
            "resume",
            "ID",
            "PROMPT",
        ],
    },
    Real {
        name: "opencode",
        id: Id::Learned("/sessionID"),
        new: &["run", "--format", "json", "PROMPT"],
        resume: &["run", "--format", "json", "--session", "ID", "PROMPT"],
    },
    Real {
        name: "gemini",
        id: Id::Given,
        new: &[
            "-p",
            "PROMPT",
            "--session-id",
            "ID",
            "-o",
            "stream-json",
            "--skip-trust",
        ],
        resume: &[
            "--resume",
            "ID",
            "-p",
            "PROMPT",
            "-o",
            "stream-json",
            "--skip-trust",
        ],
    },
    Real {
        name: "qwen",
        id: Id::Given,
        new: &["-p", "PROMPT", "--session-id", "ID", "-o", "stream-json"],
        resume: &["--resume", "ID", "-p", "PROMPT", "-o", "stream-json"],
    },
];

impl Real {
    /// An id of this agent's form that no conversation of it has.
    pub(crate) fn unknown(&self) -> &'static str {
        match self.name {
            "opencode" => "ses_0123456789abcdefghijklmnop",
            _ => "00000000-0000-4000-8000-00000000000f",
        }
    }

    /// The program, if it can be found.
    pub(crate) fn program(&self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path)
            .map(|folder| folder.join(self.name))
            .find(|program| program.exists())
    }
}

/// The environment of all agents that ask the model at `url`, whose settings are
/// written below `home`. Nothing of our own environment belongs to it but `PATH`.
pub(crate) fn set_up(home: &Path, url: &str) -> std::io::Result<Vec<(&'static str, String)>> {
    let write = |file: &str, text: String| {
        let file = home.join(file);
        std::fs::create_dir_all(file.parent().unwrap_or(home))?;
        std::fs::write(file, text)
    };
    write(".codex/config.toml", codex(url))?;
    write(".config/opencode/opencode.json", opencode(url).to_string())?;
    write(
        ".gemini/settings.json",
        settings("gemini-api-key").to_string(),
    )?;
    write(".qwen/settings.json", settings("openai").to_string())?;
    let text = |text: &str| text.to_owned();
    Ok(vec![
        ("HOME", home.display().to_string()),
        (
            "XDG_CONFIG_HOME",
            home.join(".config").display().to_string(),
        ),
        ("TMPDIR", home.display().to_string()),
        ("PATH", std::env::var("PATH").unwrap_or_default()),
        ("LC_ALL", text("C.UTF-8")),
        ("TZ", text("UTC")),
        // A subscriber's token, with which claude tells when a limit ends.
        ("ANTHROPIC_BASE_URL", text(url)),
        ("CLAUDE_CODE_OAUTH_TOKEN", text("sk-ant-oat01-stand-in")),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", text("1")),
        ("GOOGLE_GEMINI_BASE_URL", text(url)),
        ("GEMINI_API_KEY", text("stand-in")),
        ("GEMINI_MODEL", text("gemini-2.5-flash")),
        ("OPENAI_BASE_URL", format!("{url}/v1")),
        ("OPENAI_API_KEY", text("stand-in")),
        ("OPENAI_MODEL", text("stand-in")),
        ("OPENCODE_DISABLE_MODELS_FETCH", text("1")),
        ("OPENCODE_DISABLE_AUTOUPDATE", text("1")),
    ])
}

fn codex(url: &str) -> String {
    format!(
        "model = \"gpt-5.1-codex\"\nmodel_provider = \"stand-in\"\n\
         [model_providers.stand-in]\nname = \"stand-in\"\nbase_url = \"{url}/v1\"\n\
         wire_api = \"responses\"\nrequest_max_retries = 0\nstream_max_retries = 0\n"
    )
}

fn opencode(url: &str) -> Value {
    let limit = json!({"context": 100_000, "output": 1000});
    json!({
        "model": "stand-in/stand-in",
        "small_model": "stand-in/stand-in",
        "permission": {"bash": "ask"},
        "autoupdate": false,
        "share": "disabled",
        "provider": {"stand-in": {
            "npm": "@ai-sdk/openai-compatible",
            "name": "stand-in",
            "options": {"baseURL": format!("{url}/v1"), "apiKey": "stand-in"},
            "models": {"stand-in": {"name": "stand-in", "tool_call": true, "limit": limit}},
        }},
    })
}

/// Settings of gemini and of qwen, which descends from it.
fn settings(auth: &str) -> Value {
    json!({
        "security": {"auth": {"selectedType": auth}, "folderTrust": {"enabled": false}},
        "privacy": {"usageStatisticsEnabled": false},
        "general": {"enableAutoUpdate": false, "disableAutoUpdate": true},
        "telemetry": {"enabled": false},
    })
}
