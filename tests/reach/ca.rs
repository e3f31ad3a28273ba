//! An authority of our own, and certificates that it has signed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

pub struct Ca {
    dir: PathBuf,
}

/// A certificate with its key.
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Ca {
    /// None: there is no openssl here, which is said.
    pub fn new(dir: &Path) -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            println!("SKIPPED: there is no openssl here; TLS of queries and requests is not tested");
            return None;
        }
        fs::create_dir_all(dir).unwrap();
        let ca = Self { dir: dir.to_owned() };
        ca.openssl(
            &[
                &["req", "-x509"],
                &KEY[..],
                &["-days", "2", "-subj", "/CN=authority"],
                &["-keyout", "ca.key", "-out", "ca.pem"],
            ]
            .concat(),
        );
        // `openssl ca` alone can sign for a time that is over.
        fs::write(ca.path("index"), "").unwrap();
        fs::write(
            ca.path("ca.cnf"),
            "[ca]\ndefault_ca=own\n[own]\ndatabase=index\nnew_certs_dir=.\nrand_serial=yes\ndefault_md=sha256\n\
             policy=any\nunique_subject=no\n[any]\ncommonName=supplied\n",
        )
        .unwrap();
        Some(ca)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn pem(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// For `names`, such as `DNS:localhost`.
    pub fn sign(&self, file: &str, names: &str) -> Pair {
        self.sign_until(file, names, "20991231235959Z")
    }

    pub fn sign_until(&self, file: &str, names: &str, end: &str) -> Pair {
        let (key, csr, pem, ext) =
            (format!("{file}.key"), format!("{file}.csr"), format!("{file}.pem"), format!("{file}.ext"));
        fs::write(self.path(&ext), format!("subjectAltName={names}\nbasicConstraints=critical,CA:FALSE\n"))
            .unwrap();
        self.openssl(&[&["req"], &KEY[..], &["-subj", "/CN=server", "-keyout", &key, "-out", &csr]].concat());
        let dates = ["-startdate", "20200101000000Z", "-enddate", end];
        let own = ["ca", "-batch", "-notext", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key"];
        self.openssl(&[&own[..], &dates, &["-extfile", &ext, "-in", &csr, "-out", &pem]].concat());
        Pair { cert: self.path(&pem), key: self.path(&key) }
    }

    fn openssl(&self, args: &[&str]) {
        let shown = Command::new("openssl").args(args).current_dir(&self.dir).output().unwrap();
        assert!(shown.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&shown.stderr));
    }
}
