//! The Lua script of this repository, in a real Orthanc, calls the webhook.

use std::{sync::Arc, time::Duration};

use orthanc_bridge::{BridgeHandle, HookError};
use peers::{Orthanc, OrthancOptions};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::world::{SECRET, World, eventually, series, source, study_of};

/// An Orthanc with our script, set up as `orthanc/README.md` says.
fn scripted(port: u16, secret: &str) -> Orthanc {
    let script = peers::workspace().join("orthanc/overread.lua");
    Orthanc::start_with(
        OrthancOptions {
            environment: vec![("OVERREAD_WEBHOOK_SECRET".to_owned(), secret.to_owned())],
            ..OrthancOptions::default()
        }
        .set("LuaScripts", json!([script]))
        .set("HttpTimeout", json!(5))
        .set(
            "Overread",
            json!({
                "WebhookUrl": format!("http://127.0.0.1:{port}/hooks/orthanc/main"),
                "WebhookSecret": "${OVERREAD_WEBHOOK_SECRET}",
            }),
        ),
    )
}

/// Takes calls as the API does: the bearer token and the body go to the bridge.
async fn serve(listener: TcpListener, handle: BridgeHandle) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { return };
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        let (head, body) = loop {
            let count = stream.read(&mut buffer).await.unwrap_or(0);
            bytes.extend_from_slice(&buffer[..count]);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = field(head, "content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                break (head.to_owned(), body.to_owned());
            }
        };
        let bearer =
            field(&head, "authorization").and_then(|value| value.strip_prefix("Bearer ").map(str::to_owned));
        let status = match handle.webhook("main", bearer.as_deref(), body.as_bytes()) {
            Ok(()) => "202 Accepted",
            Err(_) => "401 Unauthorized",
        };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}");
        stream.write_all(answer.as_bytes()).await.ok();
    }
}

fn field(head: &str, name: &str) -> Option<String> {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")))?;
    Some(line[name.len() + 1..].trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scripts_call_brings_a_study_in_without_the_change_log() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let orthanc = scripted(listener.local_addr().unwrap().port(), SECRET);
    let world = World::new().await;
    let mut source = source("main", &orthanc.url());
    source.poll = Duration::from_secs(3600);
    let bridge = world.follow(vec![source]);
    eventually("the bridge follows", async || bridge.handle.status()["main"].reached_at.is_some()).await;
    tokio::spawn(serve(listener, bridge.handle.clone()));

    series().iter().for_each(|file| drop(orthanc.store(file)));

    world.wait_for_stable(&study_of(&series()[0]), 35).await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_nobody_answers_costs_only_time() {
    let orthanc = scripted(peers::free_port(), SECRET);
    let world = World::new().await;
    let bridge = world.follow(vec![source("main", &orthanc.url())]);
    eventually("the bridge follows", async || bridge.handle.status()["main"].reached_at.is_some()).await;
    series().iter().for_each(|file| drop(orthanc.store(file)));
    world.wait_for_stable(&study_of(&series()[0]), 35).await;
    peers::wait_until("the script says so", Duration::from_secs(30), || {
        orthanc.log().contains("Overread was not told").then_some(())
    });
    bridge.stop().await;
}

#[tokio::test]
async fn a_call_with_another_secret_is_refused() {
    let world = World::new().await;
    let bridge = world.follow(vec![source("main", "http://127.0.0.1:9")]);
    let handle = Arc::new(bridge.handle.clone());
    assert_eq!(handle.webhook("other", Some(SECRET), b"{}"), Err(HookError::NoSuchSource));
    assert_eq!(handle.webhook("main", Some("guess"), b"{}"), Err(HookError::Unauthorized));
    assert_eq!(handle.webhook("main", Some(SECRET), b"{}"), Err(HookError::Malformed));
    bridge.stop().await;
}
