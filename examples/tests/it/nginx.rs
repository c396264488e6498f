//! nginx with the configuration that the README shows, on ports and folders of the test's.

#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use uuid::Uuid;

use crate::programs::PATIENCE;

/// As it stands in the README.
pub(crate) const CONFIGURATION: &str = include_str!("../../nginx/atomfeed.conf");

/// A place for nginx, before it is started: servers behind it must know where readers reach it.
pub(crate) struct Front {
    program: PathBuf,
    port: u16,
    folder: TempDir,
}

/// A running nginx; it is killed when this is dropped.
pub(crate) struct Nginx {
    front: Front,
    child: Child,
}

/// A request that nginx answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logged {
    pub(crate) path: String,
    pub(crate) status: u16,
    /// Whether our server was asked.
    pub(crate) reached_us: bool,
}

impl Front {
    /// `None`, having said why, where there is no nginx; where there must be one, ATOMFEED_NGINX is set.
    pub(crate) fn new() -> Option<Self> {
        let Some(program) = program() else {
            let is_wanted = std::env::var_os("ATOMFEED_NGINX").is_some();
            assert!(!is_wanted, "ATOMFEED_NGINX is set, and there is no nginx");
            println!("nothing is tested: there is no nginx; on Debian, install nginx-light");
            return None;
        };
        Some(Self {
            program,
            port: free_port(),
            folder: tempfile::tempdir().unwrap(),
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Where the archive is to be.
    pub(crate) fn archive(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    /// Starts it before servers at these addresses.
    pub(crate) fn before(self, servers: &[String]) -> Nginx {
        let folder = self.folder.path().to_owned();
        let path = |name: &str| folder.join(name).display().to_string();
        let servers: Vec<_> = servers
            .iter()
            .map(|server| format!("server {server};"))
            .collect();
        let configuration = replace(
            CONFIGURATION,
            &[
                ("listen 80;", &format!("listen 127.0.0.1:{};", self.port)),
                ("server 127.0.0.1:8080;", &servers.join("\n")),
                ("/var/cache/nginx/atomfeed", &path("cache")),
                ("/srv/atomfeed;", &format!("{};", path("archive"))),
            ],
        );
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary =
            temporary.map(|what| format!("{what}_temp_path {};\n", path(&format!("{what}.tmp"))));
        // One process, which leaves none behind when it is killed.
        let whole = format!(
            "daemon off; master_process off; pid {}; error_log {} notice;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n\
             log_format reached '$status $request_uri $upstream_addr';\n\
             access_log {} reached;\n\
             {}{configuration}}}\n",
            path("pid"),
            path("error.log"),
            path("access.log"),
            temporary.concat(),
        );
        std::fs::write(folder.join("nginx.conf"), whole).unwrap();
        let child = Command::new(&self.program)
            .args(["-e", &path("error.log"), "-p", &path("")])
            .args(["-c", &path("nginx.conf")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut nginx = Nginx { front: self, child };
        nginx.wait_until_it_listens();
        nginx
    }
}

impl Nginx {
    pub(crate) fn url(&self, path: &str) -> String {
        self.front.url(path)
    }

    /// What was answered so far.
    pub(crate) async fn log(&self) -> Vec<Logged> {
        // A request is written down once its answer is on its way: all before this one are, with it.
        let last = format!("/{}", Uuid::new_v4());
        reqwest::get(self.url(&last)).await.unwrap();
        let begun = Instant::now();
        loop {
            let log = std::fs::read_to_string(self.file("access.log")).unwrap();
            if let Some((before, _)) = log.split_once(&last) {
                let lines = before.lines().filter(|line| line.contains(" /feed/"));
                return lines.map(Logged::of).collect();
            }
            assert!(begun.elapsed() < PATIENCE, "{last} is not in {log}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// It has written down its id once it listens.
    fn wait_until_it_listens(&mut self) {
        let begun = Instant::now();
        while !self.file("pid").exists() {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && begun.elapsed() < PATIENCE,
                "nginx does not start ({ended:?}): {}",
                std::fs::read_to_string(self.file("error.log")).unwrap_or_default()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.front.folder.path().join(name)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Logged {
    fn of(line: &str) -> Self {
        let mut words = line.split(' ');
        Self {
            status: words.next().unwrap().parse().unwrap(),
            path: words.next().unwrap().to_owned(),
            reached_us: words.next().unwrap() != "-",
        }
    }
}

/// Where it is, which on Debian is no folder of everybody's search path.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([Path::new("/usr/sbin").to_owned()]);
    let mut programs = folders.map(|folder| folder.join("nginx"));
    programs.find(|program| program.is_file())
}

/// A port that nobody has, that no system gives to one who asks for any, and no hospital to its systems.
pub(crate) fn free_port() -> u16 {
    let random = || 10_000 + (Uuid::new_v4().as_u128() % 10_000) as u16;
    let mut ports = (0..100).map(|_| random());
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.find(is_free).expect("one of a hundred ports is free")
}

/// Puts what is the test's in the place of what the configuration says.
fn replace(configuration: &str, pairs: &[(&str, &str)]) -> String {
    let mut configuration = configuration.to_owned();
    for (old, new) in pairs {
        assert_eq!(configuration.matches(old).count(), 1, "{old}");
        configuration = configuration.replace(old, new);
    }
    configuration
}
