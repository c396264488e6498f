//! How a `FeedServer` stops.

use std::time::Duration;

use atomfeed_server::ServerLimits;
use http_body_util::BodyExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::desk::{Desk, asked, http2_client, served};
use crate::served::{PATIENCE, serve_app};

#[tokio::test]
async fn stopping_answers_what_is_in_hand_and_closes_the_rest() {
    let desk = Desk::new();
    let mut served = served(&desk, ServerLimits::default()).await;
    let mut silent = served.connect().await;
    let mut idle = served.connect().await;
    idle.get("/").await;
    let mut held = served.connect().await;
    held.send("GET /held HTTP/1.1\r\nHost: emr\r\n\r\n").await;
    Desk::wait_for(&desk.taken).await;
    let mut sender = http2_client(&served, None).await;
    let also = tokio::spawn(async move {
        let answer = sender.send_request(asked("/held")).await.unwrap();
        answer.into_body().collect().await.unwrap().to_bytes()
    });
    Desk::wait_for(&desk.taken).await;

    served.stop.cancel();
    silent.closed().await;
    idle.closed().await;
    assert!(TcpStream::connect(served.address).await.is_err());
    assert!(!served.running.is_finished());
    desk.release.notify_waiters();
    assert_eq!(held.answer().await.text(), "released");
    held.closed().await;
    assert_eq!(also.await.unwrap(), "released");
    let running = timeout(PATIENCE, &mut served.running).await;
    running.expect("it ends").unwrap();
}

#[tokio::test]
async fn stopping_waits_for_so_long_and_no_longer() {
    let desk = Desk::new();
    let mut served = served(
        &desk,
        ServerLimits::default().with_stop_time(Duration::from_millis(300)),
    )
    .await;
    let mut held = served.connect().await;
    held.send("GET /held HTTP/1.1\r\nHost: emr\r\n\r\n").await;
    Desk::wait_for(&desk.taken).await;
    served.stop.cancel();
    let running = timeout(PATIENCE, &mut served.running).await;
    running.expect("it ends").unwrap();
    held.closed().await;
}

#[tokio::test]
async fn a_server_that_is_dropped_leaves_no_connection() {
    let served = serve_app(Desk::new().app()).await;
    let mut idle = served.connect().await;
    idle.get("/").await;
    served.running.abort();
    idle.closed().await;
}
