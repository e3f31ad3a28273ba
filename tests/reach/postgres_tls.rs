//! TLS with a PostgreSQL server: whom it is believed.

use std::path::PathBuf;

use runbook::model::TaskEndKind;
use serde_json::json;

use crate::ca::Ca;
use crate::postgres::{change, sql, world};
use crate::server::Postgres;

const ASK: &str = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";

#[tokio::test(flavor = "current_thread")]
async fn a_certificate_is_looked_at_as_sslmode_says() {
    let dir = tempfile::tempdir().unwrap();
    let Some(ca) = Ca::new(dir.path()) else { return };
    let stranger = Ca::new(&dir.path().join("stranger")).unwrap();
    let Some(server) = Postgres::with_tls(&ca.sign("server", "DNS:localhost")) else { return };
    let mut world = world();
    let mut n = 0;
    let mut ask = async |host: &str, mode: &str, ca_file: Option<PathBuf>| {
        n += 1;
        let url = format!("postgres://admin@{host}:{}/postgres{mode}", server.port);
        let mut spec = sql(&format!("a{n}.1"), &url, ASK, vec![]);
        change(&mut spec).ca_file = ca_file;
        let (end, output) = world.run(spec).await;
        match end.kind {
            TaskEndKind::Answered => Ok(output.sql.unwrap().rows[0][0].clone()),
            TaskEndKind::Errored { error } | TaskEndKind::NotStarted { error } => Err(error),
            other => panic!("{other:?}"),
        }
    };
    let own = || Some(ca.pem());
    // Encrypted, and nobody looks.
    assert_eq!(ask("127.0.0.1", "", None).await, Ok(json!(true)), "prefer on this machine");
    assert_eq!(ask("127.0.0.1", "?sslmode=require", None).await, Ok(json!(true)));
    assert_eq!(ask("127.0.0.1", "?sslmode=disable", None).await, Ok(json!(false)));
    // Looked at.
    assert_eq!(ask("localhost", "?sslmode=verify-full", own()).await, Ok(json!(true)));
    assert_eq!(ask("localhost", "", own()).await, Ok(json!(true)));
    assert_eq!(ask("127.0.0.1", "?sslmode=verify-ca", own()).await, Ok(json!(true)));
    assert_eq!(ask("127.0.0.1", "?sslmode=require", own()).await, Ok(json!(true)));
    let name = ask("127.0.0.1", "?sslmode=verify-full", own()).await.unwrap_err();
    assert!(name.contains("is refused: it is for another name"), "{name}");
    for (mode, ca_file) in [
        ("?sslmode=verify-full", None),
        ("?sslmode=verify-full", Some(stranger.pem())),
        ("?sslmode=verify-ca", Some(stranger.pem())),
        ("?sslmode=require", Some(stranger.pem())),
    ] {
        let error = ask("localhost", mode, ca_file).await.unwrap_err();
        assert!(error.contains("is refused"), "{mode}: {error}");
    }
    let missing = ask("localhost", "", Some("/nowhere/ca.pem".into())).await.unwrap_err();
    assert!(missing.contains("`ca_file` /nowhere/ca.pem: No such file"), "{missing}");
    let empty = ask("localhost", "", Some("/dev/null".into())).await.unwrap_err();
    assert!(empty.contains("no certificate in it"), "{empty}");
}

#[tokio::test(flavor = "current_thread")]
async fn an_expired_certificate_and_a_server_without() {
    let dir = tempfile::tempdir().unwrap();
    let Some(ca) = Ca::new(dir.path()) else { return };
    let mut world = world();
    let old = ca.sign_until("old", "DNS:localhost", "20200201000000Z");
    let Some(server) = Postgres::with_tls(&old) else { return };
    for (n, mode) in ["verify-full", "verify-ca"].iter().enumerate() {
        let url = format!("postgres://admin@localhost:{}/postgres?sslmode={mode}", server.port);
        let mut spec = sql(&format!("a{n}.1"), &url, ASK, vec![]);
        change(&mut spec).ca_file = Some(ca.pem());
        let end = world.run(spec).await.0.kind;
        assert!(
            matches!(&end, TaskEndKind::Errored { error } if error.contains("it has expired")),
            "{end:?}"
        );
    }
    drop(server);
    let server = Postgres::start().unwrap();
    let bare = sql("b.1", &server.url("?sslmode=require"), ASK, vec![]);
    let end = world.run(bare).await.0.kind;
    assert!(matches!(&end, TaskEndKind::Errored { error } if error.contains("has no TLS")), "{end:?}");
    let (_, output) = world.run(sql("c.1", &server.url("?sslmode=prefer"), ASK, vec![])).await;
    assert_eq!(output.sql.unwrap().rows, [[json!(false)]]);
}
