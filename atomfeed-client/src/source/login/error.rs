use std::error::Error;
use std::time::Duration;

use crate::FetchError;

/// Why a login did not come about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The server knows no such user, or another password.
    #[error(
        "the server refuses the login of {user:?}: see that user and password are right and that the \
         account is not locked"
    )]
    Refused {
        /// Who was to be logged in.
        user: String,
    },
    /// The server answered with what is no answer to a login.
    #[error(
        "the login was answered {status}: see that its address is right and that the server takes logins there"
    )]
    Answered {
        /// The HTTP status.
        status: u16,
    },
    /// The server wants a second factor, which nobody here can give.
    #[error(
        "the server wants a second factor of {user:?}: let this user in without one, or take another"
    )]
    SecondFactor {
        /// Who was to be logged in.
        user: String,
    },
    /// The server took the login, and gave nothing to be known by.
    #[error(
        "the server took the login but set no cookie: see that its address is that of the login"
    )]
    NoSession,
    /// What was given to get in with cannot be sent.
    #[error(
        "{what} holds what no HTTP header can carry: give it without line ends and control characters"
    )]
    Unusable {
        /// What it is.
        what: &'static str,
    },
    /// The user's name has a colon in it, and what stands behind it would be taken for the password.
    #[error(
        "the user {user:?} has a colon in the name, which a login by header cannot carry (RFC 7617): take a user \
         without one"
    )]
    ColonInUser {
        /// Who was to be logged in.
        user: String,
    },
    /// The login is at another origin than what it is for, and would be given away there.
    #[error(
        "{url} is not at {origin}, where somebody is to be logged in: give the address of the login there"
    )]
    Elsewhere {
        /// Where the login was to be.
        url: String,
        /// Where it is for.
        origin: String,
    },
    /// The login came to no end. The server may have refused it, and so it is not tried again soon.
    #[error(
        "the login was not over within {limit:?}: see whether the server is up, or allow more time"
    )]
    Timeout {
        /// How long it was given.
        limit: Duration,
    },
    /// The server could not be asked.
    #[error("the login was not answered")]
    Fetch(#[from] FetchError),
    /// What an authenticator of one's own says. It is tried again soon, and so a refusal must not be this, but
    /// [`Refused`](Self::Refused): accounts are locked after a few.
    #[error("the authenticator failed; what it is made of says more")]
    Other(#[source] Box<dyn Error + Send + Sync>),
}

impl LoginError {
    /// An error of an authenticator of one's own, other than that a password was refused. It must not show a
    /// secret.
    pub fn other(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }

    /// The error for an answer of this status.
    pub fn answered(status: u16) -> Self {
        Self::Answered { status }
    }

    /// Whether to try again with the same may do harm.
    pub(crate) fn is_refusal(&self) -> bool {
        !matches!(
            self,
            Self::Fetch(_)
                | Self::Other(_)
                | Self::Answered {
                    status: 500..|429| 408
                }
        )
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Fetch(error) => error.retry_after(),
            _ => None,
        }
    }
}
