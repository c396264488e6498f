#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::response::IntoResponse;
use tokio::net::TcpListener;

use super::*;
use crate::hospital::emr::testing::TestEmr;

fn ask() -> Ask {
    Ask {
        method: Method::GET,
        path: "/openmrs/ws/atomfeed/patient/recent".to_owned(),
        kind: "text/plain",
        body: Bytes::new(),
        limit: Duration::from_secs(60),
    }
}

/// An EMR that answers with these statuses, and then lets everybody in; and how often it was asked.
async fn answering(statuses: &'static [u16]) -> (Sender, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let app: Router = Router::new().fallback(move || {
        let before = counted.fetch_add(1, Ordering::Relaxed);
        let status = statuses.get(before).copied().unwrap_or(200);
        async move {
            match StatusCode::from_u16(status).unwrap() {
                StatusCode::OK => ([(SET_COOKIE, "JSESSIONID=1; Path=/")], "in").into_response(),
                status => status.into_response(),
            }
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let client = Sender::new(address.parse().unwrap()).unwrap();
    (client, asked)
}

#[tokio::test]
async fn who_is_away_or_busy_is_asked_again() {
    // Away while it is signed in, and away after that.
    let cases: [(&[u16], usize); 2] = [(&[503, 429], 4), (&[200, 503, 502, 504, 429], 6)];
    for (statuses, times) in cases {
        let (client, asked) = answering(statuses).await;
        assert!(client.send(&ask()).await.is_ok(), "{statuses:?}");
        // As often as it was away, for one login, and for one answer.
        assert_eq!(asked.load(Ordering::Relaxed), times, "{statuses:?}");
    }
}

#[tokio::test]
async fn who_fails_is_asked_again_a_few_times() {
    let (client, asked) = answering(&[200, 500, 500]).await;
    assert!(client.send(&ask()).await.is_ok());
    assert_eq!(asked.load(Ordering::Relaxed), 4);

    let (client, asked) = answering(&[200, 500, 503, 500, 500]).await;
    let error = client.send(&ask()).await.err().unwrap();
    assert!(format!("{error:#}").contains("500"), "{error:#}");
    assert_eq!(asked.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn who_refuses_is_not_asked_again() {
    let statuses: [&[u16]; 3] = [&[200, 400], &[200, 409], &[200, 501]];
    for statuses in statuses {
        let (client, asked) = answering(statuses).await;
        let error = client.send(&ask()).await.err().unwrap();
        let refused = statuses[1].to_string();
        assert!(format!("{error:#}").contains(&refused), "{error:#}");
        assert_eq!(asked.load(Ordering::Relaxed), 2, "{statuses:?}");
    }
}

#[tokio::test]
async fn patience_comes_to_an_end() {
    let (client, asked) = answering(&[503, 503]).await;
    let client = client.with_patience(Duration::ZERO);
    let error = client.send(&ask()).await.err().unwrap();
    assert!(format!("{error:#}").contains("503"), "{error:#}");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_session_that_has_ended_is_begun_anew() {
    let emr = TestEmr::start().await;
    let client = Sender::new(emr.url("/")).unwrap();
    let cookie = client.cookie(None).await.ok().unwrap();
    assert_eq!(client.cookie(None).await.ok().unwrap(), cookie);
    let session = emr.url("/openmrs/ws/rest/v1/session");
    let end = emr.http.delete(session).header(COOKIE, &cookie).send();
    assert_eq!(end.await.unwrap().status(), 204);

    let answer = client.send(&ask()).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_ne!(client.cookie(None).await.ok().unwrap(), cookie);
}
