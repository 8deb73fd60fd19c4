//! `floor-http FILE`: serves a JSON document with nothing in the way: `/prebuilt` as it
//! stands in the file, `/serialised` written anew for each request. Says where it
//! listens.
#![expect(clippy::print_stdout, reason = "its first line is its address")]

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use serde_json::Value;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() {
    let file = std::env::args().nth(1).expect("usage: floor-http FILE");
    let prebuilt = Bytes::from(std::fs::read(file).expect("a file"));
    let value: Arc<Value> = Arc::new(serde_json::from_slice(&prebuilt).expect("JSON"));
    let json = |body: Bytes| async { ([(CONTENT_TYPE, "application/json")], body) };
    let serialised = move || {
        json(
            serde_json::to_vec(&*value)
                .expect("what was read can be written")
                .into(),
        )
    };
    let app = Router::new()
        .route("/prebuilt", get(move || json(prebuilt.clone())))
        .route("/serialised", get(serialised));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("{}", listener.local_addr().expect("it is bound"));
    axum::serve(listener, app).await.expect("it serves");
}
