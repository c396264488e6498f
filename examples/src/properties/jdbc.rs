use anyhow::{Context, anyhow, bail, ensure};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use super::secret::Secret;

/// What `jdbc:` URLs begin with, and what they do here.
const SCHEMES: [(&str, &str); 3] = [
    ("jdbc:postgresql:", "postgres"),
    ("jdbc:mysql:", "mysql"),
    ("jdbc:mariadb:", "mysql"),
];

/// A database as sqlx names it, and the parameters of the `jdbc:` URL that are of no use.
pub(super) struct Translated {
    pub(super) url: Secret,
    pub(super) unused: Vec<String>,
}

/// The database of a `jdbc:` URL, for a user with a password, if there are such.
///
/// # Errors
///
/// When it is none that can be reached from here. The URL is not shown: it may hold a password.
pub(super) fn translated(
    jdbc: &str,
    mut user: Option<String>,
    mut password: Option<Secret>,
) -> anyhow::Result<Translated> {
    let mut url = server(jdbc)?;
    let parameters: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    url.set_query(None);
    let (mut kept, mut unused) = (Vec::new(), Vec::new());
    for (name, value) in parameters {
        match name.as_str() {
            "user" if user.is_none() => user = Some(value),
            "password" if password.is_none() => password = Some(Secret::new(value)),
            _ => match parameter(url.scheme(), &name, &value) {
                Some(parameter) => kept.push(parameter),
                None => unused.push(name),
            },
        }
    }
    let no_host = |()| anyhow!("jdbc.url names no host: write one, or give --database");
    if let Some(user) = user {
        url.set_username(&encoded(&user)).map_err(no_host)?;
    }
    if let Some(password) = password {
        let password = encoded(password.reveal());
        url.set_password(Some(&password)).map_err(no_host)?;
    }
    for (name, value) in kept {
        url.query_pairs_mut().append_pair(name, &value);
    }
    Ok(Translated {
        url: Secret::new(url),
        unused,
    })
}

/// Host, port, database and parameters.
fn server(jdbc: &str) -> anyhow::Result<Url> {
    let mut known = SCHEMES.iter();
    let (scheme, rest) = known
        .find_map(|(begins, scheme)| Some((*scheme, jdbc.strip_prefix(begins)?)))
        .context(
            "jdbc.url is of no kind that is known here (jdbc:postgresql://HOST:PORT/DATABASE, \
             jdbc:mysql://HOST:PORT/DATABASE): give --database instead",
        )?;
    let several = "jdbc.url is no URL of one server (jdbc:postgresql://HOST:PORT/DATABASE): give \
                   --database instead";
    let url = match rest.strip_prefix("//") {
        Some(server) => format!("{scheme}://{server}"),
        // Of the machine's own PostgreSQL.
        None if scheme == "postgres" && !rest.contains("//") => {
            format!("{scheme}://localhost/{}", rest.trim_start_matches('/'))
        }
        None => bail!(several),
    };
    let mut url = Url::parse(&url).context(several)?;
    let hosts = url.host_str().unwrap_or_default();
    ensure!(!hosts.contains(','), several);
    if hosts.is_empty() {
        url.set_host(Some("localhost")).context(several)?;
    }
    Ok(url)
}

/// What a parameter of the Java driver is to sqlx.
fn parameter(scheme: &str, name: &str, value: &str) -> Option<(&'static str, String)> {
    let is_true = value.is_empty() || value.eq_ignore_ascii_case("true");
    let parameter = match (scheme, name) {
        ("postgres", "sslmode") => ("sslmode", value),
        ("postgres", "sslrootcert") => ("sslrootcert", value),
        ("postgres", "ssl") if is_true => ("sslmode", "verify-full"),
        ("postgres", "currentSchema") => ("options[search_path]", value),
        ("postgres", "ApplicationName") => ("application_name", value),
        ("mysql", "sslMode") => ("ssl-mode", value),
        ("mysql", "requireSSL") if is_true => ("ssl-mode", "REQUIRED"),
        ("mysql", "useSSL") if !is_true => ("ssl-mode", "DISABLED"),
        _ => return None,
    };
    Some((parameter.0, parameter.1.to_owned()))
}

/// Also `%`, which URLs take for encoded already.
fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn url(jdbc: &str) -> String {
        let password = Some(Secret::new("a%/@:\u{fc} 1"));
        let translated = translated(jdbc, Some("me@lab".to_owned()), password);
        translated.unwrap().url.reveal().to_owned()
    }

    #[test]
    fn urls_are_those_of_sqlx() {
        let me = "me%40lab:a%25%2F%40%3A%C3%BC%201";
        for (jdbc, server) in [
            (
                "jdbc:postgresql://127.0.0.1:5432/odoo",
                "127.0.0.1:5432/odoo",
            ),
            ("jdbc:postgresql://localhost/odoo", "localhost/odoo"),
            ("jdbc:postgresql://[::1]:5433/odoo", "[::1]:5433/odoo"),
            ("jdbc:postgresql:///odoo", "localhost/odoo"),
            ("jdbc:postgresql:odoo", "localhost/odoo"),
            (
                "jdbc:postgresql://db/odoo?currentSchema=erp&sslmode=require&tcpKeepAlive=true",
                "db/odoo?options%5Bsearch_path%5D=erp&sslmode=require",
            ),
        ] {
            assert_eq!(url(jdbc), format!("postgres://{me}@{server}"), "{jdbc}");
        }
        for (jdbc, server) in [
            ("jdbc:mysql://db:3306/openmrs", "db:3306/openmrs"),
            (
                "jdbc:mariadb://db/openmrs?useSSL=false",
                "db/openmrs?ssl-mode=DISABLED",
            ),
        ] {
            assert_eq!(url(jdbc), format!("mysql://{me}@{server}"), "{jdbc}");
        }
    }

    #[test]
    fn sqlx_reads_what_was_written() {
        use std::str::FromStr;

        let url = url("jdbc:postgresql://127.0.0.1:5432/odoo");
        let options = sqlx::postgres::PgConnectOptions::from_str(&url).unwrap();
        let read = (
            options.get_host(),
            options.get_username(),
            options.get_database(),
        );
        assert_eq!(read, ("127.0.0.1", "me@lab", Some("odoo")));
    }

    #[test]
    fn user_and_password_may_stand_in_the_url() {
        let jdbc = "jdbc:mysql://db/openmrs?user=me&password=it&autoReconnect=true";
        let translated = translated(jdbc, None, None).unwrap();
        assert_eq!(translated.url.reveal(), "mysql://me:it@db/openmrs");
        assert_eq!(translated.unused, ["autoReconnect"]);
    }

    #[test]
    fn what_cannot_be_reached_is_refused_and_not_shown() {
        for jdbc in [
            "jdbc:oracle:thin:@db:1521/secret",
            "jdbc:postgresql://db1:5432,secret:5432/odoo",
            "jdbc:postgresql://db1,secret/odoo",
            "jdbc:mysql:loadbalance://db1,db2/openmrs?password=secret",
            "postgres://me:secret@db/odoo",
            "jdbc:postgresql://db:port/secret",
        ] {
            let refused = translated(jdbc, None, None).err().unwrap();
            let error = format!("{refused:#}");
            assert!(error.contains("--database"), "{jdbc}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
