use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use http::HeaderMap;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Instrument;
use url::Url;

use super::failed::Failed;
use super::session::Session;
use super::wire::Wire;
use crate::FetchError;
use crate::source::login::{AnswerHead, Authenticator, LoginDoor, LoginError};

/// An origin, and how one gets in there.
pub(super) struct Realm {
    authenticator: Option<Arc<dyn Authenticator>>,
    session: Mutex<Option<Arc<Session>>>,
    /// What events named and was had last, with the headers it was asked for with: two, so that there is
    /// another one than whichever is refused.
    let_in: Mutex<VecDeque<(Url, HeaderMap)>>,
    /// Held by who logs in. It is what makes it one login however many need one, and so it is held, as
    /// nothing else is, while something is asked over the network.
    logins: Arc<tokio::sync::Mutex<Logins>>,
}

/// A session, and whether who wanted one had to log in for it.
pub(super) struct Granted {
    pub(super) session: Arc<Session>,
    pub(super) by_own_login: bool,
}

impl Granted {
    fn by_others(session: Arc<Session>) -> Self {
        Self {
            session,
            by_own_login: false,
        }
    }
}

#[derive(Default)]
struct Logins {
    succeeded: u64,
    failed: Option<Failed>,
}

impl Realm {
    pub(super) fn new(authenticator: Option<Arc<dyn Authenticator>>) -> Self {
        // Without a login, there is one session, of cookies alone.
        let session = authenticator.is_none().then(|| Arc::new(Session::new(0)));
        Self {
            authenticator,
            session: Mutex::new(session),
            let_in: Mutex::default(),
            logins: Arc::default(),
        }
    }

    /// Whether an answer asks for a login.
    pub(super) fn is_refused(&self, answer: &AnswerHead<'_>) -> bool {
        let authenticator = self.authenticator.as_ref();
        authenticator.is_some_and(|authenticator| authenticator.is_refused(answer))
    }

    /// Whether a new login may help where one is asked for.
    pub(super) fn can_log_in_again(&self) -> bool {
        let authenticator = self.authenticator.as_ref();
        authenticator.is_some_and(|authenticator| authenticator.can_log_in_again())
    }

    /// The session there is, or one of a first login.
    pub(super) async fn session(
        self: &Arc<Self>,
        wire: &Arc<Wire>,
        origin: &Url,
    ) -> Result<Granted, FetchError> {
        match self.current() {
            Some(session) => Ok(Granted::by_others(session)),
            None => self.log_in_after(None, wire, origin).await,
        }
    }

    /// The session that others have begun after this one, if they have: a login under way is waited for.
    pub(super) async fn begun_after(&self, refused: &Session) -> Option<Granted> {
        let _logins = self.logins.lock().await;
        let current = self.current();
        let newer = current.filter(|session| refused.number() < session.number());
        newer.map(Granted::by_others)
    }

    /// A session after the one under which a request was refused: the one that others have logged in to
    /// meanwhile, or one of a new login.
    ///
    /// # Errors
    ///
    /// When the login fails, or has failed so lately that it is not tried yet.
    ///
    /// # Cancel safety
    ///
    /// A login goes on when the future is dropped, for who comes next: nobody else would learn that the
    /// password was refused, and it would be sent again and again.
    pub(super) async fn log_in_after(
        self: &Arc<Self>,
        refused: Option<&Session>,
        wire: &Arc<Wire>,
        origin: &Url,
    ) -> Result<Granted, FetchError> {
        let mut logins = Arc::clone(&self.logins).lock_owned().await;
        if let Some(session) = self.current()
            && refused.is_none_or(|refused| refused.number() < session.number())
        {
            return Ok(Granted::by_others(session));
        }
        let now = Instant::now();
        if let Some(failed) = &logins.failed
            && now < failed.until
        {
            return Err(failed.error(origin, now));
        }
        // Nobody is to try with what was refused.
        self.set(None);
        let (tell, told) = oneshot::channel();
        let (realm, wire, origin) = (Arc::clone(self), Arc::clone(wire), origin.clone());
        let login = async move {
            let outcome = realm.enter(&mut logins, &wire, &origin).await;
            // Who logged in goes first, if still there.
            let _ = tell.send(outcome);
            drop(logins);
        };
        tokio::spawn(login.in_current_span());
        let abandoned = |_| FetchError::Source("the program ended in the middle of a login".into());
        let session = told.await.map_err(abandoned)??;
        Ok(Granted {
            session,
            by_own_login: true,
        })
    }

    /// Logs in, and remembers what came of it.
    async fn enter(
        &self,
        logins: &mut Logins,
        wire: &Wire,
        origin: &Url,
    ) -> Result<Arc<Session>, FetchError> {
        let limit = wire.settings.longest_login();
        let login = tokio::time::timeout(limit, self.log_in(logins.succeeded + 1, wire, origin));
        let outcome = match AssertUnwindSafe(login).catch_unwind().await {
            Ok(in_time) => in_time.unwrap_or(Err(LoginError::Timeout { limit })),
            Err(_) => Err(LoginError::other("it panicked")),
        };
        match outcome {
            Ok(session) => {
                tracing::info!(origin = %origin.origin().ascii_serialization(), "logged in");
                logins.succeeded += 1;
                logins.failed = None;
                self.set(Some(Arc::clone(&session)));
                Ok(session)
            }
            Err(error) => {
                let failed = Failed::after(logins.failed.take(), error);
                let error = failed.error(origin, Instant::now());
                logins.failed = Some(failed);
                Err(error)
            }
        }
    }

    async fn log_in(
        &self,
        number: u64,
        wire: &Wire,
        origin: &Url,
    ) -> Result<Arc<Session>, LoginError> {
        let mut session = Session::new(number);
        if let Some(authenticator) = &self.authenticator {
            let door = LoginDoor::new(wire, origin, &session);
            let credentials = authenticator.log_in(&door).await?;
            session.set_credentials(credentials);
        }
        Ok(Arc::new(session))
    }

    /// What an event names was had.
    pub(super) fn has_let_in(&self, url: &Url, headers: &HeaderMap) {
        let mut let_in = self.let_in.lock().unwrap_or_else(PoisonError::into_inner);
        let_in.retain(|(other, _)| other != url);
        let_in.truncate(1);
        let_in.push_front((url.clone(), headers.clone()));
    }

    /// What another event than this one named and was had last. Pages are no witness: they may be open to all.
    pub(super) fn let_in_beside(&self, refused: &Url) -> Option<(Url, HeaderMap)> {
        let let_in = self.let_in.lock().unwrap_or_else(PoisonError::into_inner);
        let_in.iter().find(|(url, _)| url != refused).cloned()
    }

    fn current(&self) -> Option<Arc<Session>> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.clone()
    }

    fn set(&self, session: Option<Arc<Session>>) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }
}

impl std::fmt::Debug for Realm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Realm")
            .field("logs_in", &self.authenticator.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use async_trait::async_trait;

    use super::*;
    use crate::source::HttpFeedSource;

    /// Lets nobody in until it is told to, and counts who tries.
    struct Doorman {
        answer: Mutex<fn() -> Result<HeaderMap, LoginError>>,
        tried: AtomicU32,
        takes: Mutex<Duration>,
    }

    #[async_trait]
    impl Authenticator for Doorman {
        async fn log_in(&self, _: &LoginDoor<'_>) -> Result<HeaderMap, LoginError> {
            self.tried.fetch_add(1, Ordering::SeqCst);
            let takes = *self.takes.lock().unwrap();
            tokio::time::sleep(takes).await;
            (self.answer.lock().unwrap())()
        }
    }

    fn refused() -> Result<HeaderMap, LoginError> {
        Err(LoginError::Refused {
            user: "atomfeed".to_owned(),
        })
    }

    fn unanswered() -> Result<HeaderMap, LoginError> {
        Err(FetchError::Connection("down".into()).into())
    }

    struct Lab {
        doorman: Arc<Doorman>,
        realm: Arc<Realm>,
        wire: Arc<Wire>,
        origin: Url,
    }

    impl Lab {
        fn new(answer: fn() -> Result<HeaderMap, LoginError>) -> Self {
            let feed = "http://emr.invalid/feed/recent".parse().unwrap();
            let doorman = Arc::new(Doorman {
                answer: Mutex::new(answer),
                tried: AtomicU32::new(0),
                takes: Mutex::new(Duration::from_millis(10)),
            });
            Self {
                realm: Arc::new(Realm::new(Some(
                    Arc::clone(&doorman) as Arc<dyn Authenticator>
                ))),
                doorman,
                wire: Arc::new(Wire::new(HttpFeedSource::builder(&feed).settings()).unwrap()),
                origin: "http://emr.invalid/".parse().unwrap(),
            }
        }

        fn tried(&self) -> u32 {
            self.doorman.tried.load(Ordering::SeqCst)
        }

        async fn session(&self) -> Result<Arc<Session>, FetchError> {
            let granted = self.realm.session(&self.wire, &self.origin).await;
            granted.map(|granted| granted.session)
        }

        /// How often it is tried in a day in which it is needed all the time, and when for the second time.
        async fn tries_of_a_day(&self) -> (u32, Duration) {
            let begun = Instant::now();
            let mut second = None;
            while begun.elapsed() < Duration::from_secs(86_400) {
                let error = self.session().await.unwrap_err();
                let (wait, tried) = (error.retry_after().unwrap(), self.tried());
                tokio::time::sleep(wait / 2).await;
                self.session().await.unwrap_err();
                assert_eq!(self.tried(), tried, "it was tried before it was said to be");
                tokio::time::sleep(wait / 2 + Duration::from_millis(2)).await;
                second.get_or_insert(begun.elapsed());
            }
            (self.tried(), second.unwrap())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_login_is_tried_seldom() {
        let (tries, second) = Lab::new(refused).tries_of_a_day().await;
        // Every 15 to 30 minutes.
        assert!((48..110).contains(&tries), "{tries}");
        let second = second.as_secs();
        assert!((30..65).contains(&second), "{second} s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_without_an_answer_is_tried_more_often() {
        for answer in [unanswered, || Err(LoginError::other("it has no token now"))] {
            let (tries, second) = Lab::new(answer).tries_of_a_day().await;
            // Every one to two minutes.
            assert!((700..1_500).contains(&tries), "{tries}");
            let second = second.as_secs();
            assert!((1..5).contains(&second), "{second} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_that_comes_about_is_forgiven_all_before() {
        let lab = Lab::new(refused);
        lab.tries_of_a_day().await;
        *lab.doorman.answer.lock().unwrap() = || Ok(HeaderMap::new());
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        let session = lab.session().await.unwrap();
        let tried = lab.tried();
        assert_eq!(lab.session().await.unwrap().number(), session.number());
        assert_eq!(lab.tried(), tried);
        // Over, and refused once: soon again.
        *lab.doorman.answer.lock().unwrap() = refused;
        let realm = &lab.realm;
        let after = realm.log_in_after(Some(&session), &lab.wire, &lab.origin);
        let wait = after.await.err().unwrap().retry_after().unwrap();
        assert!(wait <= Duration::from_secs(60), "{wait:?}");
        // And nobody is given the one that is over.
        lab.session().await.unwrap_err();
    }

    /// Who logged in for all is dropped in the middle: it is for the others all the same.
    #[tokio::test(start_paused = true)]
    async fn a_login_that_is_given_up_holds_nobody_up() {
        let lab = Lab::new(|| Ok(HeaderMap::new()));
        let given_up = tokio::time::timeout(Duration::from_millis(5), lab.session());
        given_up.await.unwrap_err();
        let (first, second) = tokio::join!(lab.session(), lab.session());
        assert_eq!(first.unwrap().number(), second.unwrap().number());
        assert_eq!(lab.tried(), 1);
    }

    /// Seven of them, and the account is locked.
    #[tokio::test(start_paused = true)]
    async fn a_wrong_password_is_remembered_when_nobody_waits_for_the_answer() {
        let lab = Lab::new(refused);
        for _ in 0..10 {
            let given_up = tokio::time::timeout(Duration::from_millis(5), lab.session());
            assert!(!matches!(given_up.await, Ok(Ok(_))));
        }
        let error = lab.session().await.unwrap_err();
        assert!(error.retry_after().unwrap() > Duration::from_secs(20));
        assert_eq!(lab.tried(), 1);
    }

    /// As long as that: who never answers may have refused, and nobody else is held up for ever.
    #[tokio::test(start_paused = true)]
    async fn a_login_without_an_end_ends() {
        let lab = Lab::new(|| Ok(HeaderMap::new()));
        *lab.doorman.takes.lock().unwrap() = Duration::from_secs(86_400);
        let error = lab.session().await.unwrap_err();
        assert!(
            matches!(&error, FetchError::Login { source, .. }
                if matches!(**source, LoginError::Timeout { limit } if limit == Duration::from_secs(300))),
            "{error:?}"
        );
        assert!(error.retry_after().unwrap() > Duration::from_secs(20));
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_that_panics_has_failed() {
        let lab = Lab::new(|| panic!("on purpose"));
        for _ in 0..2 {
            let error = lab.session().await.unwrap_err();
            assert!(matches!(error, FetchError::Login { .. }), "{error:?}");
        }
        assert_eq!(lab.tried(), 1);
    }
}
