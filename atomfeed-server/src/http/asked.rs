//! What the path of a request asks for.

use crate::page::Asked;

/// What the last part of a path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathAsked {
    Page(Asked),
    /// The address that leads to the oldest page there is.
    First,
    /// A number, and none that pages have.
    Zero,
    /// A number, and a greater one than pages have.
    BeyondCounting,
}

impl PathAsked {
    pub(super) fn parse(asked: &str) -> Option<Self> {
        match asked {
            "recent" => Some(Self::Page(Asked::Recent)),
            "first" => Some(Self::First),
            digits if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(match digits.parse() {
                    Ok(0) => Self::Zero,
                    Ok(number) => Self::Page(Asked::Number(number)),
                    Err(_) => Self::BeyondCounting,
                })
            }
            _ => None,
        }
    }
}
