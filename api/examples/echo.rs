//! What HTTP alone costs: reads rows as JSON and answers a fixed text, without authentication,
//! model or database. The ceiling of `benches/predict.py`.
//!
//!     cargo run --release -p api --example echo -- 8080

use axum::{Json, Router, routing::post};
use serde_json::{Value, json};

async fn predict(Json(body): Json<Value>) -> Json<Value> {
    let rows = body["data"].as_array().map_or(0, Vec::len);
    Json(json!({ "pred_proba": vec![0.75; rows], "pred_label": vec![1; rows] }))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port: u16 = std::env::args().nth(1).ok_or("usage: echo PORT")?.parse()?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    axum::serve(listener, Router::new().route("/predict", post(predict))).await?;
    Ok(())
}
