//! Who a handler is told that a request is from.

use atomfeed_server::FeedServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::desk::Desk;
use crate::served::{serve, serve_app};

#[tokio::test]
async fn a_client_is_who_its_connection_is_from() {
    let served = serve_app(Desk::new().app()).await;
    let mut client = served.connect_from("127.0.0.3").await;
    client.send(forged("/client")).await;
    assert_eq!(client.answer().await.text(), "127.0.0.3");
}

#[tokio::test]
async fn a_trusted_proxy_says_who_a_client_is() {
    let networks = [
        "127.0.0.2/31".parse().unwrap(),
        "10.0.0.0/8".parse().unwrap(),
    ];
    let served = serve(FeedServer::new(Desk::new().app()).trust_proxies(networks)).await;
    for (peer, headers, expected) in [
        (
            "127.0.0.2",
            "X-Forwarded-For: 6.6.6.6, 192.0.2.1",
            "192.0.2.1 x-forwarded-for=6.6.6.6, 192.0.2.1",
        ),
        (
            "127.0.0.3",
            "X-Forwarded-For: 192.0.2.1, 10.0.0.1",
            "192.0.2.1 x-forwarded-for=192.0.2.1, 10.0.0.1",
        ),
        (
            "127.0.0.2",
            "Forwarded: for=192.0.2.1;proto=https",
            "192.0.2.1 forwarded=for=192.0.2.1;proto=https",
        ),
        (
            "127.0.0.2",
            "X-Real-IP: 6.6.6.6",
            "127.0.0.2 x-real-ip=6.6.6.6",
        ),
        ("127.0.0.4", "X-Forwarded-For: 192.0.2.1", "127.0.0.4"),
    ] {
        let mut client = served.connect_from(peer).await;
        client
            .send(format!(
                "GET /client HTTP/1.1\r\nHost: emr\r\n{headers}\r\n\r\n"
            ))
            .await;
        assert_eq!(client.answer().await.text(), expected, "{peer} {headers}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn who_comes_through_a_unix_socket_is_believed_only_where_the_owner_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let app = Desk::new().app();
    for (server, expected) in [
        (FeedServer::new(app.clone()), "nobody"),
        (
            FeedServer::new(app).trust_unix_peers(),
            "192.0.2.1 x-forwarded-for=192.0.2.1",
        ),
    ] {
        let path = folder.path().join(expected);
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let stop = atomfeed_server::CancellationToken::new();
        let running = tokio::spawn(server.run(listener, stop.clone()));
        let mut client = tokio::net::UnixStream::connect(&path).await.unwrap();
        client
            .write_all(
                b"GET /client HTTP/1.1\r\nHost: emr\r\nConnection: close\r\n\
                  X-Forwarded-For: 192.0.2.1\r\n\r\n",
            )
            .await
            .unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with(&format!("\r\n\r\n{expected}")), "{answer}");
        stop.cancel();
        running.await.unwrap();
    }
}

fn forged(path: &str) -> String {
    let names = [
        "Forwarded: for=6.6.6.6;host=evil",
        "X-Forwarded-For: 6.6.6.6",
        "X-Forwarded-Host: evil",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Port: 1",
        "X-Forwarded-Prefix: /evil",
        "X-Forwarded-For: 7.7.7.7",
        "X-Real-IP: 6.6.6.6",
    ];
    format!(
        "GET {path} HTTP/1.1\r\nHost: emr\r\n{}\r\n\r\n",
        names.join("\r\n")
    )
}
