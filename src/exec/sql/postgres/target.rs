//! Where a PostgreSQL server is and how it is spoken to: `postgres://USER@HOST:PORT/DATABASE?sslmode=...`.
//!
//! The text may hold a password, so no error here quotes a value.

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::model::Secret;

const PORT: u16 = 5432;
/// The longest wait for a server that does not answer at all, unless the URL says otherwise.
const CONNECT: Duration = Duration::from_secs(30);
/// What a URL may say after `?`.
const OPTIONS: &str = "host, port, user, dbname, sslmode, connect_timeout, application_name, options, mode";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name or an address.
    Tcp(String),
    /// The folder of the socket.
    Unix(PathBuf),
}

/// How the link is protected; the words are those of every program that speaks to PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    Disable,
    /// If the server has it; nobody looks at its certificate.
    Prefer,
    /// Nobody looks at the server's certificate.
    Require,
    VerifyCa,
    VerifyFull,
}

pub struct Target {
    pub host: Host,
    pub port: u16,
    pub user: String,
    pub password: Option<Secret>,
    pub database: String,
    pub tls: TlsMode,
    pub ca_file: Option<PathBuf>,
    pub connect: Duration,
    pub application: String,
    /// What the session is to be started with, as `-c name=value`.
    pub options: String,
    /// Nothing may be changed, so a lost answer is no riddle.
    pub read_only: bool,
}

/// What the URL's query said.
#[derive(Default)]
struct Said {
    host: Option<String>,
    port: Option<String>,
    user: Option<String>,
    database: Option<String>,
    password: Option<Vec<u8>>,
    tls: Option<TlsMode>,
    connect: Option<Duration>,
    application: Option<String>,
    options: Option<String>,
    read_only: bool,
}

/// Whether it is a database of this kind.
pub fn is_postgres(database: &[u8]) -> bool {
    database.starts_with(b"postgres://") || database.starts_with(b"postgresql://")
}

impl Target {
    /// `password`: given beside the URL.
    pub fn parse(url: &Secret, password: Option<Secret>, ca_file: Option<PathBuf>) -> Result<Self, String> {
        let url = std::str::from_utf8(url.expose()).map_err(|_| "the database's URL is not UTF-8")?;
        let (_, rest) = url.split_once("://").ok_or("the database's URL has no ://")?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut said = Said::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            said.hear(pair)?;
        }
        let (place, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (who, place) = match place.rsplit_once('@') {
            Some((who, place)) => (who, place),
            None => ("", place),
        };
        said.who(who)?;
        said.place(place)?;
        if !database.is_empty() {
            said.database = Some(decoded(database, "name of the database")?);
        }
        said.target(password, ca_file)
    }
}

impl Said {
    fn hear(&mut self, pair: &str) -> Result<(), String> {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let text = decoded(value, name)?;
        match name {
            "host" | "hostaddr" => self.host = Some(text),
            "port" => self.port = Some(text),
            "user" => self.user = Some(text),
            "password" => self.password = Some(text.into_bytes()),
            "dbname" => self.database = Some(text),
            "sslmode" => self.tls = Some(tls_mode(&text)?),
            "connect_timeout" => {
                let seconds = text.parse().ok().filter(|s| (1..=3600).contains(s));
                let seconds = seconds.ok_or("connect_timeout is a number of seconds from 1 to 3600")?;
                self.connect = Some(Duration::from_secs(seconds));
            }
            "application_name" => self.application = Some(text),
            "options" => self.options = Some(text),
            "mode" => {
                self.read_only = match text.as_str() {
                    "ro" => true,
                    "rw" => false,
                    _ => return Err("mode is ro (nothing can be changed) or rw".into()),
                }
            }
            "sslrootcert" => return Err("write `ca_file` beside `database` instead of sslrootcert".into()),
            _ => return Err(format!("the option {name:?} is not known; there are {OPTIONS}")),
        }
        Ok(())
    }

    fn who(&mut self, who: &str) -> Result<(), String> {
        let (user, password) = who.split_once(':').unwrap_or((who, ""));
        if !user.is_empty() {
            self.user = Some(decoded(user, "user")?);
        }
        if !password.is_empty() {
            self.password = Some(percent_decode_str(password).collect());
        }
        Ok(())
    }

    fn place(&mut self, place: &str) -> Result<(), String> {
        if place.contains(',') {
            return Err("there is more than one host; write one step for each".into());
        }
        // An address of version 6 stands in brackets.
        let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, rest)) => {
                (host, Some(rest.strip_prefix(':').ok_or("the URL's port cannot be read")?))
            }
            None => match place.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        if !host.is_empty() {
            self.host = Some(decoded(host, "host")?);
        }
        if let Some(port) = port {
            self.port = Some(decoded(port, "port")?);
        }
        Ok(())
    }

    fn target(self, password: Option<Secret>, ca_file: Option<PathBuf>) -> Result<Target, String> {
        let host = self.host.filter(|h| !h.is_empty()).ok_or(
            "the URL names no host: postgres://HOST/DATABASE, or postgres:///DATABASE?host=/run/postgresql",
        )?;
        if host.contains(',') {
            return Err("there is more than one host; write one step for each".into());
        }
        let host = if host.starts_with('/') { Host::Unix(host.into()) } else { Host::Tcp(host) };
        let port = match self.port.filter(|p| !p.is_empty()) {
            Some(port) => {
                port.parse().ok().filter(|p| *p > 0).ok_or("the URL's port is no number from 1 to 65535")?
            }
            None => PORT,
        };
        let password = match (password, self.password) {
            (Some(_), Some(_)) => return Err("there are two passwords, in the URL and as `password`".into()),
            (one, other) => one.or(other.map(Secret::new)),
        };
        let user = self.user.or_else(own_name).ok_or("the URL names no user")?;
        let database = self.database.unwrap_or_else(|| user.clone());
        let tls = chosen(self.tls, &host, ca_file.is_some())?;
        if [&user, &database].iter().any(|text| text.contains('\0')) {
            return Err("a name in the URL holds a NUL byte".into());
        }
        Ok(Target {
            host,
            port,
            user,
            password,
            database,
            tls,
            ca_file,
            connect: self.connect.unwrap_or(CONNECT),
            application: self.application.unwrap_or_else(|| "runbook".into()),
            options: self.options.unwrap_or_default(),
            read_only: self.read_only,
        })
    }
}

/// What is not said is safe: a server on the network must show who it is. On this machine there is nobody between.
fn chosen(said: Option<TlsMode>, host: &Host, ca_file: bool) -> Result<TlsMode, String> {
    let Host::Tcp(name) = host else {
        return match said {
            None | Some(TlsMode::Disable | TlsMode::Prefer) if !ca_file => Ok(TlsMode::Disable),
            _ => Err("there is no TLS on a socket of this machine: leave out sslmode and `ca_file`".into()),
        };
    };
    match (said, ca_file) {
        (None, false) if is_this_machine(name) => Ok(TlsMode::Prefer),
        (None, _) => Ok(TlsMode::VerifyFull),
        // As everywhere with PostgreSQL: an authority that is named is asked.
        (Some(TlsMode::Require), true) => Ok(TlsMode::VerifyCa),
        (Some(TlsMode::Disable | TlsMode::Prefer), true) => {
            Err("`ca_file` has no effect with this sslmode: write sslmode=verify-full".into())
        }
        (Some(TlsMode::VerifyCa), false) => {
            // Everybody can have a certificate of some authority that the whole world trusts.
            Err("sslmode=verify-ca needs `ca_file`; without it write sslmode=verify-full".into())
        }
        (Some(mode), _) => Ok(mode),
    }
}

pub(super) fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn tls_mode(text: &str) -> Result<TlsMode, String> {
    match text {
        "disable" => Ok(TlsMode::Disable),
        "prefer" | "allow" => Ok(TlsMode::Prefer),
        "require" => Ok(TlsMode::Require),
        "verify-ca" => Ok(TlsMode::VerifyCa),
        "verify-full" => Ok(TlsMode::VerifyFull),
        _ => Err("sslmode is disable, prefer, require, verify-ca or verify-full".into()),
    }
}

fn decoded(text: &str, what: &str) -> Result<String, String> {
    let text =
        percent_decode_str(text).decode_utf8().map_err(|_| format!("the {what} in the URL is not UTF-8"))?;
    if text.contains('\0') {
        return Err(format!("the {what} in the URL holds a NUL byte"));
    }
    Ok(text.into_owned())
}

/// The account that runs this program, as every program that speaks to PostgreSQL does it.
fn own_name() -> Option<String> {
    nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().map(|user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Target, String> {
        Target::parse(&Secret::new(url.as_bytes().to_vec()), None, None)
    }

    #[test]
    fn the_parts_of_a_url() {
        let target =
            parse("postgres://al%40ice:p%2Fw%3A%40@db.example:6432/a%20b?application_name=x").unwrap();
        assert_eq!(target.host, Host::Tcp("db.example".into()));
        assert_eq!((target.port, target.user.as_str(), target.database.as_str()), (6432, "al@ice", "a b"));
        assert_eq!(target.password.unwrap().expose(), b"p/w:@");
        assert_eq!((target.tls, target.application.as_str()), (TlsMode::VerifyFull, "x"));
        let target = parse("postgresql://u@[::1]:6432").unwrap();
        assert_eq!((target.host, target.port), (Host::Tcp("::1".into()), 6432));
        assert_eq!((target.database.as_str(), target.tls), ("u", TlsMode::Prefer));
        let target =
            parse("postgres:///app?host=%2Frun%2Fpostgresql&user=u&mode=ro&connect_timeout=3").unwrap();
        assert_eq!(target.host, Host::Unix("/run/postgresql".into()));
        assert_eq!((target.port, target.tls, target.read_only), (5432, TlsMode::Disable, true));
        assert_eq!(target.connect, Duration::from_secs(3));
        assert_eq!(parse("postgres://%2Frun%2Fpg/app").unwrap().host, Host::Unix("/run/pg".into()));
        assert!(!parse("postgres://localhost").unwrap().user.is_empty());
    }

    #[test]
    fn what_cannot_be_is_refused_without_a_value() {
        for (url, message) in [
            ("postgres:///app", "names no host"),
            ("postgres://hunter2@a,b/app", "more than one host"),
            ("postgres://hunter2@a:0/app", "no number from 1 to 65535"),
            ("postgres://hunter2@a:b/app", "no number from 1 to 65535"),
            (
                "postgres://a/app?sslmode=hunter2",
                "sslmode is disable, prefer, require, verify-ca or verify-full",
            ),
            ("postgres://a/app?sslmode=verify-ca", "needs `ca_file`"),
            ("postgres://a/app?sslrootcert=hunter2", "write `ca_file`"),
            ("postgres://a/app?connect_timeout=hunter2", "a number of seconds"),
            (
                "postgres://a/app?tcp_user_timeout=hunter2",
                "\"tcp_user_timeout\" is not known; there are host, port",
            ),
            ("postgres://a/app?mode=hunter2", "mode is ro"),
            ("postgres://hunter2%ff@a/app", "user in the URL is not UTF-8"),
            ("postgres://hunter2%00@a/app", "holds a NUL byte"),
            ("postgres:///app?host=/run&sslmode=require", "no TLS on a socket"),
        ] {
            let error = parse(url).err().unwrap_or_else(|| panic!("{url} was taken"));
            assert!(error.contains(message), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn who_is_asked_for_a_certificate() {
        let mode = |url: &str| {
            let ca = Some(PathBuf::from("ca.pem"));
            Target::parse(&Secret::new(url.as_bytes().to_vec()), None, ca).map(|target| target.tls)
        };
        assert_eq!(mode("postgres://u@127.0.0.1/a"), Ok(TlsMode::VerifyFull));
        assert_eq!(mode("postgres://u@db/a?sslmode=require"), Ok(TlsMode::VerifyCa));
        assert!(mode("postgres://u@db/a?sslmode=prefer").unwrap_err().contains("has no effect"));
        assert_eq!(parse("postgres://u@db/a?sslmode=require").unwrap().tls, TlsMode::Require);
        let both = Target::parse(
            &Secret::new(b"postgres://u:p@db/a".to_vec()),
            Some(Secret::new(b"q".to_vec())),
            None,
        );
        assert!(both.err().unwrap().contains("two passwords"));
    }
}
