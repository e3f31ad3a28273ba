//! What is told when a statement is ended, or its server dies under it: what can be known, and no more.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use runbook::model::{Millis, TaskEndKind};

use crate::keeper_support::{World, task, wait_until};
use crate::postgres::{sql, world};
use crate::server::Postgres;

/// In every statement here that takes long.
const SLOW: &str = "pg_sleep(600)";

fn unknown(kind: &TaskEndKind) -> &str {
    match kind {
        TaskEndKind::Unknown { why } => why,
        other => panic!("{other:?}"),
    }
}

/// Waits until the server carries out the statement; gives the pid of the process that does it.
async fn under_way(world: &mut World, id: &str, server: &Postgres) -> i32 {
    let began = Instant::now();
    loop {
        let ended = tokio::time::timeout(Duration::from_millis(50), world.end(&task(id))).await;
        assert!(ended.is_err(), "{ended:?}");
        if let Some(pid) = server.serving(SLOW) {
            return pid;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "the statement does not begin");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_statement_that_is_ended_is_ended_on_the_server() {
    let Some(server) = Postgres::start() else { return };
    server.sql("create table t(a int)");
    let mut world = world();
    let slow = "with new as (insert into t values (1) returning a) select a, pg_sleep(600) from new";
    let mut spec = sql("a.1", &server.url(""), slow, vec![]);
    spec.timeout = Some(Millis(2000));
    assert_eq!(world.run(spec).await.0.kind, TaskEndKind::TimedOut);
    world.exec().begin(sql("b.1", &server.url(""), slow, vec![]));
    under_way(&mut world, "b.1", &server).await;
    world.exec().stop(&task("b.1"), false);
    assert_eq!(world.end(&task("b.1")).await.0.kind, TaskEndKind::Cancelled);
    wait_until("its end on the server", || server.serving(SLOW).is_none());
    // Somebody else ends it.
    world.exec().begin(sql("c.1", &server.url(""), slow, vec![]));
    let pid = under_way(&mut world, "c.1", &server).await;
    server.sql(&format!("select pg_terminate_backend({pid})"));
    let end = world.end(&task("c.1")).await.0.kind;
    assert!(matches!(&end, TaskEndKind::Errored { error } if error.starts_with("FATAL 57P01: ")), "{end:?}");
    assert_eq!(server.sql("select count(*) from t"), "0", "all were rolled back");
}

#[tokio::test(flavor = "current_thread")]
async fn a_server_that_is_killed_leaves_a_doubt() {
    let Some(mut server) = Postgres::start() else { return };
    let mut world = world();
    let slow = "select pg_sleep(600)";
    for (id, url, everybody) in
        [("a.1", server.url(""), false), ("b.1", server.url(""), true), ("c.1", server.url("?mode=ro"), true)]
    {
        world.exec().begin(sql(id, &url, slow, vec![]));
        let backend = under_way(&mut world, id, &server).await;
        if everybody {
            // The postmaster first, so that nobody can say good-bye; its children end by themselves.
            kill(Pid::from_raw(server.postmaster()), Signal::SIGKILL).unwrap();
            server.wait();
        }
        kill(Pid::from_raw(backend), Signal::SIGKILL).unwrap();
        let end = world.end(&task(id)).await.0.kind;
        if url.ends_with("mode=ro") {
            // Nothing can have changed.
            assert!(
                matches!(&end, TaskEndKind::Errored { error } if error.contains("connection was lost")),
                "{end:?}"
            );
        } else {
            let why = unknown(&end);
            assert!(why.starts_with("the connection was lost, before the statement was done"), "{why}");
        }
        if everybody {
            let refused =
                world.run(sql(&format!("{}1", id.replace('.', "x.")), &url, slow, vec![])).await.0.kind;
            let TaskEndKind::Errored { error } = refused else { panic!("{refused:?}") };
            assert!(error.contains("refuses the connection"), "{error}");
            wait_until("the end of the server's children", || {
                server.psql("select 1").is_err() && !has_children(&server)
            });
            server.boot();
        } else {
            // The server ends all its sessions after such a death, and comes back.
            wait_until("the server's recovery", || server.psql("select 1").is_ok_and(|a| a == "1"));
        }
    }
}

/// Whoever still stands in the server's folder holds its memory.
fn has_children(server: &Postgres) -> bool {
    let data = server.socket().join("data");
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .any(|entry| std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == data))
}

/// Passes on what comes, until it is told to be deaf: the link is there, and nothing comes any more.
fn relay(port: u16, deaf: Arc<AtomicBool>, cut: Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { return };
            for (mut from, mut to) in
                [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
            {
                let (deaf, cut) = (deaf.clone(), cut.clone());
                std::thread::spawn(move || {
                    let mut bytes = [0; 4096];
                    from.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
                    loop {
                        if cut.load(Ordering::Relaxed) {
                            let _ = from.shutdown(std::net::Shutdown::Both);
                            return;
                        }
                        if deaf.load(Ordering::Relaxed) {
                            std::thread::sleep(Duration::from_millis(50));
                            continue;
                        }
                        match from.read(&mut bytes) {
                            Ok(0) => return,
                            Ok(n) => {
                                if to.write_all(&bytes[..n]).is_err() {
                                    return;
                                }
                            }
                            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                            Err(_) => return,
                        }
                    }
                });
            }
        }
    });
    own
}

#[tokio::test(flavor = "current_thread")]
async fn a_link_that_goes_silent_or_is_cut() {
    let Some(server) = Postgres::start() else { return };
    let mut world = world();
    let (deaf, cut) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let port = relay(server.port, deaf.clone(), cut.clone());
    let url = format!("postgres://admin@127.0.0.1:{port}/postgres");
    // Silent from before the statement: it was not sent, so surely nothing happened.
    deaf.store(true, Ordering::Relaxed);
    let mut spec = sql("a.1", &format!("{url}?connect_timeout=1"), "select 1", vec![]);
    spec.timeout = Some(Millis::secs(60));
    let end = world.run(spec).await.0.kind;
    assert_eq!(end, TaskEndKind::Errored { error: "the server could not be reached within 1 s".into() });
    let mut spec = sql("b.1", &url, "select 1", vec![]);
    spec.timeout = Some(Millis(500));
    assert_eq!(world.run(spec).await.0.kind, TaskEndKind::TimedOut);
    // Silent after it: nobody knows, and the server cannot be asked to end it.
    deaf.store(false, Ordering::Relaxed);
    for (id, url) in [("c.1", url.clone()), ("d.1", format!("{url}?mode=ro"))] {
        world.exec().begin(sql(id, &url, "select pg_sleep(600)", vec![]));
        let backend = under_way(&mut world, id, &server).await;
        deaf.store(true, Ordering::Relaxed);
        world.exec().stop(&task(id), false);
        let end = world.end(&task(id)).await.0.kind;
        if url.ends_with("mode=ro") {
            assert_eq!(end, TaskEndKind::Cancelled);
        } else {
            let why = unknown(&end);
            assert!(why.starts_with("ended by a person: the server did not say that it ended it"), "{why}");
        }
        deaf.store(false, Ordering::Relaxed);
        server.sql(&format!("select pg_terminate_backend({backend})"));
        wait_until("its end", || server.serving(SLOW).is_none());
    }
    // Cut.
    world.exec().begin(sql("e.1", &url, "select pg_sleep(600)", vec![]));
    under_way(&mut world, "e.1", &server).await;
    cut.store(true, Ordering::Relaxed);
    assert!(unknown(&world.end(&task("e.1")).await.0.kind).contains("connection was lost"));
}
