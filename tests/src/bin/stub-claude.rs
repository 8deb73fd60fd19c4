//! A stub of claude: takes its options, prints its stream, ends as it does, and answers by
//! itself. What it remembers lies below `$STUB_CLAUDE`:
//!
//! ```text
//! mood                 how it answers: see `monoco_tests::Model`
//! conversations/ID     what the user has said, a JSON string each line
//! heard                for each run all that the user has said in its conversation
//! twice                exists once a conversation was held by two at the same time
//! ```

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words == ["--version"] {
        return tell("2.1.0 (Claude Code)").map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    let home = std::env::var_os("STUB_CLAUDE").map(PathBuf::from);
    let (Some(home), Some(asked)) = (home, Asked::read(&words)) else {
        complain("stub-claude: not as claude is called");
        return ExitCode::FAILURE;
    };
    match asked.answer(&home) {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("stub-claude: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// What it is called for.
struct Asked {
    id: String,
    /// Whether the conversation must be there already; else it must not.
    resumes: bool,
    prompt: String,
}

impl Asked {
    fn read(words: &[String]) -> Option<Self> {
        let (mut given, mut prompt) = (None, None);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--session-id" => given = Some((words.next()?, false)),
                "--resume" | "-r" => given = Some((words.next()?, true)),
                "--output-format" => drop(words.next()?),
                "--" => prompt = words.next(),
                word if word.starts_with('-') => {}
                _ => prompt = Some(word),
            }
        }
        let (id, resumes) = given?;
        Some(Self {
            id: id.clone(),
            resumes,
            prompt: prompt?.clone(),
        })
    }

    fn answer(&self, home: &Path) -> io::Result<ExitCode> {
        let path = home.join("conversations").join(&self.id);
        match (path.exists(), self.resumes) {
            (true, false) => {
                complain(&format!("Error: Session ID {} is already in use.", self.id));
                return Ok(ExitCode::FAILURE);
            }
            (false, true) => {
                let error = format!("No conversation found with session ID: {}", self.id);
                complain(&error);
                self.result("error_during_execution", true, json!({"errors": [error]}))?;
                return Ok(ExitCode::FAILURE);
            }
            _ => {}
        }
        // Held to the end.
        let mut conversation = File::options().append(true).create(true).open(&path)?;
        if flock(&conversation, FlockOperation::NonBlockingLockExclusive).is_err() {
            File::create(home.join("twice"))?;
        }
        let said = json!(self.prompt).to_string() + "\n";
        conversation.write_all(said.as_bytes())?;
        let all = std::fs::read_to_string(&path)?;
        let all = all.lines().collect::<Vec<_>>().join(",");
        let mut heard = File::options()
            .append(true)
            .create(true)
            .open(home.join("heard"))?;
        self.print(json!({"type": "system", "subtype": "init", "model": "stub"}))?;
        // One write, so that the lines of several do not mix.
        heard.write_all(format!("[{all}]\n").as_bytes())?;
        self.say(&std::fs::read_to_string(home.join("mood"))?)
    }

    fn say(&self, mood: &str) -> io::Result<ExitCode> {
        match mood.trim().split_once(' ').unwrap_or((mood.trim(), "")) {
            ("hangs", _) => loop {
                std::thread::park();
            },
            ("rate-limited", until) => {
                let text = format!("Claude AI usage limit reached|{until}");
                self.result("success", true, json!({"result": text}))?;
                // As it did up to 1.0; later versions exit with 1.
                Ok(ExitCode::SUCCESS)
            }
            _ => {
                let last = self.prompt.lines().last().unwrap_or_default();
                let text = format!("You said: {last}");
                let content = json!([{"type": "text", "text": text}]);
                let message = json!({"role": "assistant", "content": content});
                self.print(json!({"type": "assistant", "message": message}))?;
                self.result("success", false, json!({"result": text}))?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }

    fn result(&self, subtype: &str, is_error: bool, more: Value) -> io::Result<()> {
        let mut line = json!({
            "type": "result", "subtype": subtype, "is_error": is_error, "num_turns": 1,
            "total_cost_usd": 0.01, "permission_denials": [],
        });
        if let (Some(line), Value::Object(more)) = (line.as_object_mut(), more) {
            line.extend(more);
        }
        self.print(line)
    }

    fn print(&self, mut line: Value) -> io::Result<()> {
        line["session_id"] = self.id.as_str().into();
        tell(&line.to_string())
    }
}

fn tell(line: &str) -> io::Result<()> {
    io::stdout().write_all(format!("{line}\n").as_bytes())
}

fn complain(line: &str) {
    // Nobody is left to tell when not even this can be written.
    let _ = writeln!(io::stderr(), "{line}");
}
