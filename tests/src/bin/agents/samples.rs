//! What real agents print, kept as `tests/agents/samples/ENGINE/CASE.jsonl` with an
//! index of how they ended: what the rules that read them are tested against.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::real::{Id, REAL, Real, set_up};
use crate::stand_in::{Mood, StandIn};

/// After which time an agent is taken for one that will not end: one that waits for a
/// limit to pass, or tries again and again.
const PATIENCE: Duration = Duration::from_secs(25);
/// When the stand-in's limit ends, from now.
const LIMIT: u64 = 2 * 60 * 60;
const HOME: &str = "/home/user";
const IDS: [&str; 8] = [
    "00000000-0000-4000-8000-000000000001",
    "00000000-0000-4000-8000-000000000002",
    "00000000-0000-4000-8000-000000000003",
    "00000000-0000-4000-8000-000000000004",
    "00000000-0000-4000-8000-000000000005",
    "00000000-0000-4000-8000-000000000006",
    "00000000-0000-4000-8000-000000000007",
    "00000000-0000-4000-8000-000000000008",
];

/// Takes the samples of those agents that are in `PATH` and `wanted`; the names of the
/// others.
pub(crate) fn take(folder: &Path, wanted: &[String]) -> Result<Vec<&'static str>, String> {
    let mut absent = Vec::new();
    for real in &REAL {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == real.name) {
            continue;
        }
        match real.program() {
            None => absent.push(real.name),
            Some(_) => Sampler::new(real, folder)
                .and_then(Sampler::take)
                .map_err(|error| format!("no samples of {}: {error}", real.name))?,
        }
    }
    Ok(absent)
}

struct Sampler<'a> {
    real: &'a Real,
    folder: PathBuf,
    home: TempDir,
    stand_in: StandIn,
    index: String,
}

impl<'a> Sampler<'a> {
    fn new(real: &'a Real, folder: &Path) -> std::io::Result<Self> {
        let folder = folder.join(real.name);
        std::fs::create_dir_all(&folder)?;
        let home = TempDir::new()?;
        std::fs::create_dir(home.path().join("project"))?;
        Ok(Self {
            real,
            folder,
            home,
            stand_in: StandIn::start(Mood::Answers)?,
            index: String::new(),
        })
    }

    fn take(mut self) -> std::io::Result<()> {
        let until = std::time::SystemTime::now() + Duration::from_secs(LIMIT);
        let until = until.duration_since(std::time::UNIX_EPOCH);
        let until = until.map_or(LIMIT, |until| until.as_secs());
        let printed = self.run("success", self.real.new, IDS[0], Mood::Answers)?;
        let id = match self.real.id {
            Id::Given => IDS[0].to_owned(),
            Id::Learned(pointer) => learned(&printed, pointer),
        };
        self.run("resumed", self.real.resume, &id, Mood::Answers)?;
        let unknown = self.real.unknown();
        self.run(
            "unknown_conversation",
            self.real.resume,
            unknown,
            Mood::Answers,
        )?;
        if self.real.id == Id::Given {
            self.run("conversation_in_use", self.real.new, IDS[0], Mood::Answers)?;
        }
        // A command that none of them takes for harmless.
        let runs = Mood::Runs("curl http://127.0.0.1:9/".to_owned());
        let moods = [
            ("denied", runs),
            ("context_exhausted", Mood::Overflows),
            ("failed", Mood::Fails(400)),
            ("rate_limited", Mood::RateLimited(until)),
        ];
        for ((case, mood), id) in moods.into_iter().zip(&IDS[1..]) {
            self.run(case, self.real.new, id, mood)?;
        }
        std::fs::write(self.folder.join("index.toml"), &self.index)
    }

    fn run(&mut self, case: &str, words: &[&str], id: &str, mood: Mood) -> std::io::Result<String> {
        self.stand_in.set(mood);
        let prompt = format!("the prompt of {case}");
        let arguments: Vec<&str> = words
            .iter()
            .map(|word| match *word {
                "PROMPT" => &prompt,
                "ID" => id,
                word => word,
            })
            .collect();
        // To files, which nobody who is left running holds open for us.
        let (out, err) = (self.home.path().join("out"), self.home.path().join("err"));
        let mut child = Command::new(self.real.name)
            .args(&arguments)
            .current_dir(self.home.path().join("project"))
            .env_clear()
            .envs(set_up(self.home.path(), &self.stand_in.url())?)
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&out)?)
            .stderr(std::fs::File::create(&err)?)
            .spawn()?;
        let exit = exit(&mut child)?;
        let printed = self.sanitised(&std::fs::read_to_string(out)?);
        let said = self.sanitised(&std::fs::read_to_string(err)?);
        std::fs::write(self.folder.join(format!("{case}.jsonl")), &printed)?;
        self.note(case, &arguments, exit, &said);
        Ok(printed)
    }

    fn note(&mut self, case: &str, arguments: &[&str], exit: Option<i32>, said: &str) {
        let exit = exit.map_or("\"none\"".to_owned(), |code| code.to_string());
        // What follows are traces of the program's own places.
        let line = said.lines().find(|line| is_word(line)).unwrap_or_default();
        let _ = writeln!(
            self.index,
            "[{case}]\narguments = {arguments:?}\nexit = {exit}\nstderr = {line:?}\n"
        );
    }

    /// Without what belongs to this machine.
    fn sanitised(&self, text: &str) -> String {
        let home = self.home.path().display().to_string();
        let folder = home.replace('/', "-");
        text.replace(&home, HOME)
            .replace(&folder, &HOME.replace('/', "-"))
            .replace(&self.stand_in.url(), "http://127.0.0.1:8080")
    }
}

/// Whether a line of standard error tells why, rather than how the terminal is.
fn is_word(line: &str) -> bool {
    let noise = [
        "Warning:",
        "WARNING:",
        "Reading additional",
        "Ripgrep",
        "Failed to measure",
    ];
    !line.trim().is_empty() && !noise.iter().any(|noise| line.contains(noise))
}

fn exit(child: &mut std::process::Child) -> std::io::Result<Option<i32>> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if begun.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn learned(printed: &str, pointer: &str) -> String {
    let line = printed.lines().next().unwrap_or_default();
    let line: Value = serde_json::from_str(line).unwrap_or_default();
    let id = line.pointer(pointer).and_then(Value::as_str);
    id.unwrap_or_default().to_owned()
}
