//! What went wrong on the network, in a person's words. Never holds a URL: it may be a secret.

use std::error::Error;
use std::io;

pub struct Fault {
    pub why: String,
    /// Trying again will not help.
    pub hopeless: bool,
}

/// The cause at the bottom of `error`, of a connection with `host`.
pub fn explain(error: &(dyn Error + 'static), host: &str) -> Fault {
    let soft = |why: String| Fault { why, hopeless: false };
    let mut deepest = None;
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(tls) = tls(cause) {
            return untrusted(tls, host);
        }
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            match io.kind() {
                io::ErrorKind::ConnectionRefused => return soft(format!("{host} refuses the connection")),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                    return soft(format!("{host} broke the connection off"));
                }
                io::ErrorKind::TimedOut => return soft(format!("{host} could not be reached in time")),
                _ => {}
            }
        }
        let text = cause.to_string();
        if text.contains("dns error") || text.contains("failed to lookup address") {
            return soft(format!("the name {host} cannot be resolved"));
        }
        // The limit of connecting is kept twice, by the client and by what it connects with: either may come first.
        if text == "operation timed out" {
            return soft(format!("{host} could not be reached in time"));
        }
        deepest = Some(text);
        next = cause.source();
    }
    soft(format!("{host}: {}", deepest.unwrap_or_else(|| "it failed".into())))
}

/// An error of TLS, also one inside of errors of input, which do not name as their source what they hold.
fn tls<'e>(cause: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
        return Some(tls);
    }
    tls(cause.downcast_ref::<io::Error>()?.get_ref()?)
}

fn untrusted(error: &rustls::Error, host: &str) -> Fault {
    let rustls::Error::InvalidCertificate(reason) = error else {
        return Fault { why: format!("TLS with {host}: {error}"), hopeless: false };
    };
    let text = format!("{reason:?}");
    let reason = match reason {
        rustls::CertificateError::UnknownIssuer => {
            "nobody who is trusted has signed it (`ca_file` adds an authority)"
        }
        rustls::CertificateError::NotValidForName
        | rustls::CertificateError::NotValidForNameContext { .. } => "it is for another name",
        rustls::CertificateError::Expired | rustls::CertificateError::ExpiredContext { .. } => {
            "it has expired"
        }
        _ => &text,
    };
    Fault { why: format!("the certificate of {host} is refused: {reason}"), hopeless: true }
}
