//! A stand-in for the models' APIs, on the loopback: it answers as it is told to, and
//! keeps what it was asked. It promises that whoever asks is heard before they are
//! answered, so that a prompt that was answered has been kept.

mod chat;
mod gemini;
mod messages;
mod mood;
mod reply;
mod responses;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::routing::{get, post, put};
use monoco_tests::continued::Model;
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub(crate) use mood::Mood;
use reply::Reply;

/// What one request said.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    /// Every text of the user's, in order: a conversation that goes on has several.
    pub(crate) prompts: Vec<String>,
    /// Whether its last word is what a tool gave.
    pub(crate) after_tool: bool,
    /// Whether it offers tools: what programs ask beside the work (titles) mostly does not.
    pub(crate) has_tools: bool,
    /// Whether it is to be answered piece by piece.
    pub(crate) stream: bool,
}

/// The stand-in; its copies are one and the same.
#[derive(Clone, Debug)]
pub(crate) struct StandIn {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    mood: Mood,
    heard: Vec<Heard>,
}

impl StandIn {
    /// Serves in a thread of its own for as long as this program runs.
    pub(crate) fn start(mood: Mood) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let heard = Vec::new();
        let stand_in = Self {
            address: listener.local_addr()?,
            shared: Arc::new(Mutex::new(Shared { mood, heard })),
        };
        let runtime = tokio::runtime::Runtime::new()?;
        let app = stand_in.router();
        std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener)?;
                axum::serve(listener, app).await
            })
        });
        Ok(stand_in)
    }

    /// Where it is asked, without a slash at the end.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How it answers from now on.
    pub(crate) fn set(&self, mood: Mood) {
        self.lock().mood = mood;
    }

    /// Keeps what was asked, and decides what is answered.
    fn reply(&self, heard: Heard) -> Reply {
        let mut shared = self.lock();
        let reply = shared.mood.reply(&heard);
        shared.heard.push(heard);
        reply
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        // Whoever panicked has left whole values.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn router(&self) -> Router {
        Router::new()
            .route("/v1/messages", post(messages::answer))
            .route("/v1/messages/count_tokens", post(messages::count))
            .route("/v1/responses", post(responses::answer))
            .route("/v1/chat/completions", post(chat::answer))
            .route("/v1beta/models/{call}", post(gemini::answer))
            .route("/mood", put(set_mood))
            .route("/heard", get(tell_heard))
            .fallback(unknown)
            .with_state(self.clone())
    }
}

impl Model for StandIn {
    fn be(&self, mood: &str) {
        self.set(mood.parse().expect("a mood"));
    }

    fn heard(&self) -> Vec<Vec<String>> {
        let heard = self.lock().heard.clone();
        let work = heard.into_iter().filter(|heard| heard.has_tools);
        work.map(|heard| heard.prompts).collect()
    }
}

async fn set_mood(State(stand_in): State<StandIn>, word: String) -> StatusCode {
    match word.parse() {
        Ok(mood) => {
            stand_in.set(mood);
            StatusCode::NO_CONTENT
        }
        Err(_) => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

async fn tell_heard(State(stand_in): State<StandIn>) -> axum::Json<Value> {
    axum::Json(json!(stand_in.heard()))
}

/// What programs ask beside the model (telemetry, lists of models): not here.
async fn unknown(uri: Uri) -> (StatusCode, String) {
    let error = json!({"error": {"message": format!("no {}", uri.path())}});
    (StatusCode::NOT_FOUND, error.to_string())
}
