use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response, StatusCode};
use url::form_urlencoded::Serializer;

use super::{AnswerHead, Authenticator, BasicAuth, LoginDoor, LoginError};

/// A form that is posted, as a browser would, and the cookies that come of it: OpenELIS, and many others.
///
/// A login has failed when the answer is 401 or 403, sends to a page with `login` in its path, or is a page
/// that asks for a password. A session is over when an answer is 401, 403 or a page for people
/// (HTML) with status 200, or sends to such a login page: feeds and resources are no pages for people,
/// unless [that is said](Self::among_pages).
///
/// ```
/// use atomfeed_client::{FeedUri, FormLogin, HttpFeedSource};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let feed: FeedUri = "http://lab:8052/openelis/ws/feed/patient/recent".parse()?;
/// let login = FormLogin::new("/openelis/ValidateLogin.do", "admin", "secret");
/// let source = HttpFeedSource::builder(&feed).with_login(login).build()?;
/// # let _ = source;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FormLogin {
    action: String,
    login: BasicAuth,
    fields: (String, String),
    more: Vec<(String, String)>,
    login_page: String,
    among_pages: bool,
}

impl FormLogin {
    /// A form whose fields are those of OpenELIS, `loginName` and `password`, posted to this path, or URL at
    /// the origin that is logged in at.
    pub fn new(
        action: impl Into<String>,
        user: impl Into<String>,
        password: impl Into<String>,
    ) -> Self {
        Self {
            action: action.into(),
            login: BasicAuth::new(user, password),
            fields: ("loginName".to_owned(), "password".to_owned()),
            more: Vec::new(),
            login_page: "login".to_owned(),
            among_pages: false,
        }
    }

    /// Names the fields of user and password otherwise.
    #[must_use]
    pub fn with_fields(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.fields = (user.into(), password.into());
        self
    }

    /// Posts one field more.
    #[must_use]
    pub fn with_field(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.more.push((name.into(), value.into()));
        self
    }

    /// Says what the path of the login page has in it, in whatever case, and no other's; else `login`.
    #[must_use]
    pub fn with_login_page(mut self, part: impl Into<String>) -> Self {
        self.login_page = part.into();
        self
    }

    /// Says that what is fetched may be a page for people, so that not each of them is a login.
    #[must_use]
    pub fn among_pages(mut self) -> Self {
        self.among_pages = true;
        self
    }

    fn filled_in(&self) -> Bytes {
        let mut form = Serializer::new(String::new());
        form.append_pair(&self.fields.0, self.login.user());
        form.append_pair(&self.fields.1, self.login.password());
        form.extend_pairs(&self.more);
        form.finish().into()
    }

    fn has_failed(&self, url: &url::Url, answer: &Response<Bytes>) -> bool {
        let head = AnswerHead::new(url, answer.status(), answer.headers());
        head.is_denied()
            || head.redirects_to_path_with(&self.login_page)
            || asks_for_password(answer.body())
    }
}

/// Whether a page has a field for a password, as a login page that is shown again has.
fn asks_for_password(page: &[u8]) -> bool {
    let page = page.to_ascii_lowercase();
    let is_of = |kind: &[u8]| page.windows(kind.len()).any(|part| part == kind);
    is_of(b"type=\"password\"") || is_of(b"type='password'") || is_of(b"type=password")
}

#[async_trait]
impl Authenticator for FormLogin {
    async fn log_in(&self, door: &LoginDoor<'_>) -> Result<HeaderMap, LoginError> {
        let url = door.url(&self.action)?;
        let request = Request::post(url.as_str())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(self.filled_in())
            .map_err(LoginError::other)?;
        let answer = door.send(request).await?;
        if self.has_failed(&url, &answer) {
            return Err(LoginError::Refused {
                user: self.login.user().to_owned(),
            });
        }
        match answer.status() {
            StatusCode::OK | StatusCode::NO_CONTENT | StatusCode::FOUND | StatusCode::SEE_OTHER => {
            }
            status => return Err(LoginError::answered(status.as_u16())),
        }
        match door.has_cookies() {
            true => Ok(HeaderMap::new()),
            false => Err(LoginError::NoSession),
        }
    }

    fn is_refused(&self, answer: &AnswerHead<'_>) -> bool {
        answer.is_denied()
            || answer.redirects_to_path_with(&self.login_page)
            || (answer.is_page_for_people() && !self.among_pages)
    }
}

impl fmt::Debug for FormLogin {
    // Without the password, and what else is posted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FormLogin")
            .field("action", &self.action)
            .field("user", &self.login.user())
            .finish_non_exhaustive()
    }
}
