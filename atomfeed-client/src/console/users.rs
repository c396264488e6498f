use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use async_trait::async_trait;

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Role {
    /// See everything.
    View,
    /// Also retry, edit, skip, and move markers.
    Operate,
}

/// Who uses the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleUser {
    /// As it is written down with what is asked for.
    pub name: String,
    /// What they may do.
    pub role: Role,
}

impl ConsoleUser {
    /// A user.
    pub fn new(name: impl Into<String>, role: Role) -> Self {
        Self {
            name: name.into(),
            role,
        }
    }
}

/// Knows who may use the console: [`UserList`], or one of your own.
///
/// It is asked whenever somebody signs in, and with each request that brings name and password (HTTP Basic). Who
/// has signed in keeps the role of then until they sign out: 24 hours at most, and 8 without a request. To have
/// somebody out at once, start the console again.
#[async_trait]
pub trait ConsoleUsers: Send + Sync + 'static {
    /// What somebody may do who gives this name and password; `None` where nobody has them.
    async fn role(&self, name: &str, password: &str) -> Option<Role>;
}

/// Names with roles and Argon2 hashes of passwords: lines of `NAME ROLE HASH`, where the role is `view` or
/// `operate`. Empty lines, and those that begin with `#`, say nothing.
///
/// ```
/// use atomfeed_client::console::{Role, UserList};
///
/// let line = UserList::line("asha", Role::Operate, "hunter2").unwrap();
/// let users: UserList = format!("# the hospital's own\n{line}\n").parse()?;
/// # Ok::<(), atomfeed_client::console::InvalidUsers>(())
/// ```
#[derive(Clone)]
pub struct UserList {
    users: Arc<HashMap<String, (Role, String)>>,
    /// What a password is checked against where there is no such user, so that this takes as long.
    nobody: String,
}

impl UserList {
    /// A line for a user.
    ///
    /// # Errors
    ///
    /// When the name has white space in it or begins with `#`, the password is empty, or no random numbers can
    /// be had.
    pub fn line(name: &str, role: Role, password: &str) -> Result<String, InvalidUsers> {
        let is_name = !name.is_empty() && !name.contains(char::is_whitespace);
        if !is_name || name.starts_with('#') {
            return Err(InvalidUsers::new(
                0,
                "a name has no white space and does not begin with #",
            ));
        }
        if password.is_empty() {
            return Err(InvalidUsers::new(0, "the password is empty"));
        }
        let hash = hash(password).map_err(|error| InvalidUsers::new(0, error.to_string()))?;
        Ok(format!("{name} {} {hash}", role.as_str()))
    }
}

fn hash(password: &str) -> argon2::password_hash::Result<String> {
    let hash = Argon2::default().hash_password(password.as_bytes())?;
    Ok(hash.to_string())
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Operate => "operate",
        }
    }
}

/// A list of users that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the list of users: {what}; a line is NAME view|operate HASH")]
pub struct InvalidUsers {
    line: usize,
    what: String,
}

impl InvalidUsers {
    fn new(line: usize, what: impl Into<String>) -> Self {
        let what = what.into();
        Self { line, what }
    }
}

impl FromStr for UserList {
    type Err = InvalidUsers;

    fn from_str(text: &str) -> Result<Self, InvalidUsers> {
        let mut users = HashMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.split_whitespace();
            let (name, role, hash) = (words.next(), words.next(), words.next());
            let (Some(name), Some(role), Some(hash), None) = (name, role, hash, words.next())
            else {
                return Err(InvalidUsers::new(number, "it does not have three words"));
            };
            let role = match role {
                "view" => Role::View,
                "operate" => Role::Operate,
                other => return Err(InvalidUsers::new(number, format!("{other:?} is no role"))),
            };
            PasswordHash::new(hash)
                .map_err(|error| InvalidUsers::new(number, format!("the hash: {error}")))?;
            if users
                .insert(name.to_owned(), (role, hash.to_owned()))
                .is_some()
            {
                return Err(InvalidUsers::new(
                    number,
                    format!("{name:?} is there twice"),
                ));
            }
        }
        if users.is_empty() {
            return Err(InvalidUsers::new(0, "there is nobody in it"));
        }
        let nobody = hash("nobody").map_err(|error| InvalidUsers::new(0, error.to_string()))?;
        Ok(Self {
            users: Arc::new(users),
            nobody,
        })
    }
}

#[async_trait]
impl ConsoleUsers for UserList {
    async fn role(&self, name: &str, password: &str) -> Option<Role> {
        let known = self.users.get(name).cloned();
        let (role, hash) = match known {
            Some((role, hash)) => (Some(role), hash),
            None => (None, self.nobody.clone()),
        };
        let password = password.to_owned();
        let checked = tokio::task::spawn_blocking(move || {
            let hash = PasswordHash::new(&hash).ok()?;
            let verified = Argon2::default().verify_password(password.as_bytes(), &hash);
            verified.ok()
        });
        checked.await.ok().flatten()?;
        role
    }
}

impl fmt::Debug for UserList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.users.keys()).finish()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_in_the_list_gets_in() {
        let lines = [
            UserList::line("asha", Role::Operate, "hunter2").unwrap(),
            "# nobody else".to_owned(),
            UserList::line("ravi", Role::View, "hunter3").unwrap(),
        ];
        let users: UserList = lines.join("\n\n").parse().unwrap();
        assert_eq!(users.role("asha", "hunter2").await, Some(Role::Operate));
        assert_eq!(users.role("ravi", "hunter3").await, Some(Role::View));
        for (name, password) in [
            ("asha", "hunter3"),
            ("asha", ""),
            ("nobody", "nobody"),
            ("", ""),
        ] {
            assert_eq!(users.role(name, password).await, None);
        }
        assert!(!format!("{users:?}").contains("argon2"));
    }

    #[test]
    fn what_is_no_list_says_where() {
        let line = UserList::line("asha", Role::View, "x").unwrap();
        for (text, says) in [
            ("".to_owned(), "nobody"),
            ("\nasha view".to_owned(), "line 2"),
            (line.replace("view", "root"), "\"root\" is no role"),
            (line.replace("$argon2id", ""), "hash"),
            (format!("{line}\n{line}"), "twice"),
            (format!("{line} x"), "three words"),
        ] {
            let error = text.parse::<UserList>().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        for (name, password) in [("a b", "x"), ("#a", "x"), ("", "x"), ("a", "")] {
            UserList::line(name, Role::View, password).unwrap_err();
        }
    }
}
