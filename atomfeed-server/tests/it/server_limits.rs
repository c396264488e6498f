//! Each limit of a `FeedServer`.

use std::time::Duration;

use atomfeed_server::{FeedServer, ServerLimits};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::{sleep, timeout};

use crate::desk::{Desk, LARGE, asked, http2_client, served};
use crate::served::{Client, PATIENCE, serve};

/// Short enough to be waited for, and longer than anything that is not waited for takes.
const SOON: Duration = Duration::from_secs(1);

fn limits() -> ServerLimits {
    ServerLimits::default()
}

#[tokio::test]
async fn who_sends_no_whole_header_is_closed() {
    let served = served(&Desk::new(), limits().with_header_time(SOON)).await;
    let mut silent = served.connect().await;
    let mut half = served.connect().await;
    half.send("GET / HTTP/1.1\r\nHo").await;
    let mut later = served.connect().await;
    assert_eq!(later.get("/").await.status, 200);
    later.send("GET / HTTP/1.1\r\nHo").await;
    silent.closed().await;
    half.closed().await;
    later.closed().await;

    // A byte now and then gains nothing.
    let mut dripping = served.connect().await;
    let dripped = async {
        while dripping.0.write_all(b"G").await.is_ok() {
            sleep(SOON / 10).await;
        }
    };
    timeout(PATIENCE, dripped).await.expect("it is closed");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_used_one_is_not() {
    let served = served(&Desk::new(), limits().with_idle_time(SOON)).await;
    let mut idle = served.connect().await;
    assert_eq!(idle.get("/").await.text(), "hello");
    idle.closed().await;
    let mut sender = http2_client(&served, None).await;
    assert_eq!(sender.send_request(asked("/")).await.unwrap().status(), 200);
    timeout(PATIENCE, async {
        while sender.ready().await.is_ok() {
            sleep(SOON / 10).await;
        }
    })
    .await
    .expect("that of HTTP/2, too");
}

#[tokio::test]
async fn a_request_that_is_held_is_under_no_limit() {
    let desk = Desk::new();
    let short = limits()
        .with_header_time(SOON)
        .with_idle_time(SOON)
        .with_write_time(SOON)
        .with_response_time(SOON)
        .with_body_time(SOON)
        .with_ping_interval(SOON);
    let served = served(&desk, short).await;
    let mut held = served.connect().await;
    held.send("GET /held HTTP/1.1\r\nHost: emr\r\n\r\n").await;
    Desk::wait_for(&desk.taken).await;
    let mut sender = http2_client(&served, None).await;
    let also = tokio::spawn(async move {
        let answer = sender.send_request(asked("/held")).await.unwrap();
        answer.into_body().collect().await.unwrap().to_bytes()
    });
    Desk::wait_for(&desk.taken).await;
    // All limits are over for those that came later.
    for _again in 0..3 {
        let mut silent = served.connect().await;
        silent.closed().await;
        let mut idle = served.connect().await;
        idle.get("/").await;
        idle.closed().await;
    }
    desk.release.notify_waiters();
    assert_eq!(held.answer().await.text(), "released");
    assert_eq!(also.await.unwrap(), "released");
}

#[tokio::test]
async fn who_does_not_read_is_closed() {
    let desk = Desk::new();
    let served = served(&desk, limits().with_write_time(SOON)).await;
    let mut deaf = served.connect().await;
    deaf.send("GET /endless HTTP/1.1\r\nHost: emr\r\n\r\n")
        .await;
    Desk::wait_for(&desk.given_up).await;

    let mut reading = served.connect().await;
    assert_eq!(reading.get("/large").await.body.len(), LARGE);
}

#[tokio::test]
async fn who_reads_a_byte_now_and_then_is_closed() {
    let desk = Desk::new();
    let served = served(&desk, limits().with_write_time(SOON)).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut slow = socket.connect(served.address).await.unwrap();
    slow.write_all(b"GET /endless HTTP/1.1\r\nHost: emr\r\n\r\n")
        .await
        .unwrap();
    let reads = tokio::spawn(async move {
        // Enough to open the window again and again.
        let mut bytes = [0; 64];
        while slow.read(&mut bytes).await.is_ok_and(|read| read > 0) {
            sleep(SOON / 10).await;
        }
    });
    Desk::wait_for(&desk.given_up).await;
    reads.abort();
}

#[tokio::test]
async fn a_stream_whose_client_lets_nothing_through_is_closed() {
    let desk = Desk::new();
    let served = served(&desk, limits().with_response_time(SOON)).await;
    let mut sender = http2_client(&served, Some(0)).await;
    let answer = sender.send_request(asked("/endless")).await.unwrap();
    assert_eq!(answer.status(), 200);
    Desk::wait_for(&desk.given_up).await;
}

#[tokio::test]
async fn a_header_that_is_too_large_is_refused() {
    let served = served(&Desk::new(), limits()).await;
    let ten_thousand = "A: b\r\n".repeat(10_000);
    let a_mebibyte = format!("A: {}\r\n", "b".repeat(1 << 20));
    let too_large = format!("A: {}\r\n", "b".repeat(40 << 10));
    for header in ["A: b\r\n".repeat(150), too_large, ten_thousand, a_mebibyte] {
        let mut client = served.connect().await;
        client
            .send(format!("GET / HTTP/1.1\r\nHost: emr\r\n{header}\r\n"))
            .await;
        assert_eq!(client.answer().await.status, 431);
        client.closed().await;
    }
    let just = format!("A: {}\r\n", "b".repeat(30 << 10)) + &"A: b\r\n".repeat(90);
    let mut client = served.connect().await;
    client
        .send(format!("GET / HTTP/1.1\r\nHost: emr\r\n{just}\r\n"))
        .await;
    assert_eq!(client.answer().await.status, 200);

    let mut sender = http2_client(&served, None).await;
    for (lines, status) in [(1, 200), (2, 431)] {
        let mut large = asked("/");
        for _line in 0..lines {
            let value = "b".repeat(20 << 10).parse().unwrap();
            large.headers_mut().append("a", value);
        }
        assert_eq!(sender.send_request(large).await.unwrap().status(), status);
    }
}

#[tokio::test]
async fn who_is_refused_while_sending_gets_to_read_why() {
    let served = served(&Desk::new(), limits()).await;
    let large = "b".repeat(3 << 20);
    for (request, status) in [
        (
            format!("GET / HTTP/1.1\r\nHost: emr\r\nA: {large}\r\n\r\n"),
            431,
        ),
        (
            format!("POST /body HTTP/1.1\r\nHost: emr\r\nContent-Length: 3145728\r\n\r\n{large}"),
            413,
        ),
    ] {
        let socket = TcpSocket::new_v4().unwrap();
        // So that most of it is still to be sent when the answer comes.
        socket.set_send_buffer_size(4096).unwrap();
        let mut client = Client(socket.connect(served.address).await.unwrap());
        client.send(request).await;
        assert_eq!(client.answer().await.status, status);
        client.closed().await;
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_or_too_slow_is_refused() {
    let desk = Desk::new();
    let small = limits().with_body_bytes(10).with_body_time(SOON);
    let served = served(&desk, small).await;
    let post = |header: &str, body: &str| {
        format!("POST /body HTTP/1.1\r\nHost: emr\r\n{header}\r\n\r\n{body}")
    };
    for (header, body, status) in [
        ("Content-Length: 10", "0123456789", 200),
        ("Content-Length: 11", "", 413),
        ("Content-Length: 11", "0123456789x", 413),
        ("Transfer-Encoding: chunked", "5\r\n01234\r\n0\r\n\r\n", 200),
        (
            "Transfer-Encoding: chunked",
            "b\r\n0123456789x\r\n0\r\n\r\n",
            413,
        ),
        ("Content-Length: 10", "01234", 400),
        ("Transfer-Encoding: chunked", "5\r\n01", 400),
    ] {
        let mut client = served.connect().await;
        client.send(post(header, body)).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, status, "{header} {body}: {answer:?}");
    }
    let none = FeedServer::new(desk.app()).with_limits(limits().with_body_bytes(0));
    let none = serve(none).await;
    let mut client = none.connect().await;
    client.send(post("Transfer-Encoding: chunked", "")).await;
    assert_eq!(client.answer().await.status, 413);
}

/// A proxy that went by the length would take the second request for a part of the first (RFC 9112
/// §6.1).
#[tokio::test]
async fn what_follows_a_request_in_chunks_is_not_read() {
    let served = served(&Desk::new(), limits()).await;
    let hidden = "GET / HTTP/1.1\r\nHost: emr\r\n\r\n";
    for header in [
        format!(
            "Content-Length: {}\r\nTransfer-Encoding: chunked",
            5 + hidden.len()
        ),
        format!(
            "Transfer-Encoding: chunked\r\nContent-Length: {}",
            5 + hidden.len()
        ),
    ] {
        let mut client = served.connect().await;
        client
            .send(format!(
                "POST /body HTTP/1.1\r\nHost: emr\r\n{header}\r\n\r\n0\r\n\r\n{hidden}"
            ))
            .await;
        assert_eq!(client.answer().await.text(), "0");
        client.closed().await;
    }
}

#[tokio::test]
async fn the_connection_that_has_been_idle_longest_makes_room() {
    let desk = Desk::new();
    let served = served(&desk, limits().with_connections(4)).await;
    let mut held = served.connect().await;
    held.send("GET /held HTTP/1.1\r\nHost: emr\r\n\r\n").await;
    Desk::wait_for(&desk.taken).await;
    let mut first = served.connect().await;
    first.get("/").await;
    let mut second = served.connect().await;
    second.get("/").await;
    let mut third = served.connect().await;
    third.get("/").await;
    first.get("/").await;
    // From the longest idle on: the second, the third, the first.
    assert_eq!(served.get("/").await.status, 200);
    second.closed().await;
    assert_eq!(first.get("/").await.status, 200);
    assert_eq!(third.get("/").await.status, 200);
    desk.release.notify_waiters();
    assert_eq!(held.answer().await.text(), "released");
}

#[tokio::test]
async fn where_all_have_a_request_in_hand_one_more_is_refused() {
    let desk = Desk::new();
    let served = served(&desk, limits().with_connections(2)).await;
    let mut held = Vec::new();
    for _one in 0..2 {
        let mut client = served.connect().await;
        client.send("GET /held HTTP/1.1\r\nHost: emr\r\n\r\n").await;
        Desk::wait_for(&desk.taken).await;
        held.push(client);
    }
    served.connect().await.closed().await;
    desk.release.notify_waiters();
    for mut client in held {
        assert_eq!(client.answer().await.text(), "released");
        assert_eq!(client.get("/").await.status, 200);
    }
    timeout(PATIENCE, async {
        while served.connect().await.try_get("/").await.is_none() {}
    })
    .await
    .expect("there is room again");
}

#[tokio::test]
async fn a_client_makes_room_for_itself_only() {
    let desk = Desk::new();
    let served = served(&desk, limits().with_connections_a_client(2)).await;
    let mut other = served.connect_from("127.0.0.2").await;
    other.get("/").await;
    let mut first = served.connect().await;
    first.get("/").await;
    let mut second = served.connect().await;
    second.get("/").await;
    let mut third = served.connect().await;
    assert_eq!(third.get("/").await.status, 200);
    first.closed().await;
    assert_eq!(second.get("/").await.status, 200);
    assert_eq!(other.get("/").await.status, 200);
}

#[tokio::test]
async fn a_trusted_proxy_may_have_any_number_of_connections() {
    let server = FeedServer::new(Desk::new().app())
        .with_limits(limits().with_connections_a_client(2))
        .trust_proxies(["127.0.0.1/32".parse().unwrap()]);
    let served = serve(server).await;
    let mut all = Vec::new();
    for _one in 0..10 {
        let mut client = served.connect().await;
        client.get("/").await;
        all.push(client);
    }
    for mut client in all {
        assert_eq!(client.get("/").await.status, 200);
    }
}
