//! Requests and queries, against a tiny server on this machine and SQLite files.

mod keeper_support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use keeper_support::{World, secrets, spec, task};
use runbook::exec::TaskSpec;
use runbook::model::{HttpOp, Millis, Op, Piece, SecretName, SecretText, SqlOp, TaskEndKind};
use serde_json::{Value, json};

/// Answers every connection with `answer`, on its own thread, until the test ends.
fn serve(answer: impl Fn(&str, &[u8], &mut TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while reader.read_line(&mut head).is_ok_and(|n| n > 2) {}
            let length = head
                .lines()
                .find_map(|l| {
                    l.to_ascii_lowercase().strip_prefix("content-length: ").map(|n| n.parse().unwrap())
                })
                .unwrap_or(0);
            let mut body = vec![0; length];
            let _ = reader.read_exact(&mut body);
            answer(&head, &body, &mut stream);
        }
    });
    address
}

fn reply(stream: &mut TcpStream, head: &str, body: &[u8]) {
    let _ = write!(stream, "HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(body);
}

fn http(id: &str, method: &str, url: &str) -> TaskSpec {
    spec(
        id,
        Op::Http(HttpOp {
            method: method.into(),
            url: SecretText::plain(url),
            headers: Vec::new(),
            body: None,
            auth: None,
            ca_file: None,
        }),
    )
}

#[tokio::test(flavor = "current_thread")]
async fn an_answer_is_told_whatever_its_status() {
    let address = serve(|head, body, stream| {
        let path = head.split(' ').nth(1).unwrap();
        match path {
            "/echo" => {
                let text =
                    format!("{}|{}", head.contains("x-token: s3cr3t-value"), String::from_utf8_lossy(body));
                reply(stream, "503 No\r\nX-Seen: a\r\nx-seen: b", text.as_bytes());
            }
            "/binary" => reply(stream, "200 OK", b"\xff\xfe"),
            _ => reply(stream, "200 OK", &vec![b'x'; 9 << 20]),
        }
    });
    let mut world = World::with(|c| c.secrets = secrets(&[("t", "s3cr3t-value")]));
    let mut spec = http("a.1", "POST", &format!("http://{address}/echo"));
    let secret = || SecretText(vec![Piece::Secret(SecretName("t".into()))]);
    if let Op::Http(op) = &mut spec.op {
        op.headers.push(("X-Token".into(), secret()));
        op.body = Some(secret());
    }
    let (end, output) = world.run(spec).await;
    assert_eq!(end.kind, TaskEndKind::Answered);
    let answer = output.http.unwrap();
    assert_eq!((answer.status, answer.headers["x-seen"].as_str()), (503, "a, b"));
    assert_eq!(answer.body, Ok("true|***".into()));
    let (_, output) = world.run(http("b.1", "GET", &format!("http://{address}/binary"))).await;
    assert_eq!(output.http.unwrap().body, Err("the answer is not UTF-8".into()));
    let (_, output) = world.run(http("c.1", "GET", &format!("http://{address}/long"))).await;
    assert_eq!(output.http.unwrap().body, Err("the answer is longer than 8.0 MiB".into()));
}

#[tokio::test(flavor = "current_thread")]
async fn no_answer_is_told_as_what_is_known() {
    let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut world = World::with(|c| c.secrets = secrets(&[("t", "s3cr3t-value")]));
    // Refused: surely nothing happened, whatever the method. The URL's secret is not told.
    let mut spec = http("a.1", "POST", "");
    if let Op::Http(op) = &mut spec.op {
        let secret = Piece::Secret(SecretName("t".into()));
        op.url = SecretText(vec![Piece::Plain(format!("http://{refused}/?k=")), secret]);
    }
    let (end, _) = world.run(spec).await;
    let want = format!("POST http://{refused}/?k=‹secret t›: 127.0.0.1 refuses the connection");
    assert_eq!(end.kind, TaskEndKind::Errored { error: want });
    let (end, _) = world.run(http("b.1", "GET", "http://no-such-host.invalid/")).await;
    assert!(
        matches!(&end.kind, TaskEndKind::Errored { error } if error.contains("no-such-host.invalid")),
        "{end:?}"
    );
    let (end, _) = world.run(http("c.1", "GET", "ftp://x/")).await;
    assert!(matches!(&end.kind, TaskEndKind::NotStarted { .. }), "{end:?}");

    // Hung up after the request was read.
    let hangs_up = serve(|_, _, _| {});
    let (end, _) = world.run(http("d.1", "GET", &format!("http://{hangs_up}/"))).await;
    assert!(matches!(end.kind, TaskEndKind::Errored { .. }), "{end:?}");
    let (end, _) = world.run(http("e.1", "POST", &format!("http://{hangs_up}/"))).await;
    assert!(
        matches!(&end.kind, TaskEndKind::Unknown { why } if why.contains("may have carried it out")),
        "{end:?}"
    );

    // Never answers.
    let silent = serve(|_, _, stream| {
        let _ = stream.read(&mut [0; 1]);
    });
    let mut spec = http("f.1", "GET", &format!("http://{silent}/"));
    spec.timeout = Some(Millis(200));
    assert_eq!(world.run(spec).await.0.kind, TaskEndKind::TimedOut);
    let mut spec = http("g.1", "DELETE", &format!("http://{silent}/"));
    spec.timeout = Some(Millis(200));
    assert!(matches!(world.run(spec).await.0.kind, TaskEndKind::Unknown { .. }));
    world.exec().begin(http("h.1", "GET", &format!("http://{silent}/")));
    world.exec().stop(&task("h.1"), false);
    assert_eq!(world.end(&task("h.1")).await.0.kind, TaskEndKind::Cancelled);
}

fn sql(id: &str, database: &str, query: &str, binds: Vec<Value>) -> TaskSpec {
    let database = SecretText::plain(database);
    spec(id, Op::Sql(SqlOp { database, password: None, ca_file: None, query: query.into(), binds }))
}

#[tokio::test(flavor = "current_thread")]
async fn queries() {
    let mut world = World::new();
    let path = format!("sqlite:{}", world.dir().join("t.db").display());
    let error = |kind: TaskEndKind| match kind {
        TaskEndKind::Errored { error } => error,
        other => panic!("{other:?}"),
    };
    let (end, _) = world.run(sql("a.1", &path, "select 1", vec![])).await;
    assert!(error(end.kind).contains("add ?mode=rwc"));
    assert!(!world.dir().join("t.db").exists());
    let create = sql("b.1", &format!("{path}?mode=rwc"), "create table t(a, b)", vec![]);
    assert_eq!(world.run(create).await.0.kind, TaskEndKind::Answered);
    let binds = vec![json!(1), json!("x'; drop table t")];
    let (end, output) =
        world.run(sql("c.1", &path, "insert into t values (?1, ?2), (2, x'00ff')", binds)).await;
    assert_eq!(end.kind, TaskEndKind::Answered);
    assert_eq!(output.sql.unwrap().affected, 2);
    let (_, output) = world.run(sql("d.1", &path, "select a, b, null, 1.5 from t order by a", vec![])).await;
    let answer = output.sql.unwrap();
    assert_eq!(answer.columns, ["a", "b", "null", "1.5"]);
    assert_eq!(
        answer.rows,
        [
            vec![json!(1), json!("x'; drop table t"), json!(null), json!(1.5)],
            vec![json!(2), json!({"base64": "AP8="}), json!(null), json!(1.5)]
        ]
    );
    assert_eq!(answer.affected, 0);
    let (end, _) = world.run(sql("e.1", &path, "delete from t; delete from t", vec![])).await;
    assert_eq!(error(end.kind), "there is more than one statement; write one step for each");
    let (end, _) = world.run(sql("f.1", &format!("{path}?mode=ro"), "delete from t", vec![])).await;
    assert!(error(end.kind).contains("readonly"));
    let (end, _) = world.run(sql("g.1", &format!("{path}?x=1"), "select 1", vec![])).await;
    assert!(error(end.kind).contains("\"x=1\" is not known"));
    let (_, output) = world.run(sql("h.1", &path, "select count(*) from t", vec![])).await;
    assert_eq!(output.sql.unwrap().rows, [[json!(2)]]);
}

/// SQLite makes all changes before it gives the first row, and keeps them when the rest is merely not asked for.
#[tokio::test(flavor = "current_thread")]
async fn what_a_statement_with_too_long_an_answer_changed_is_rolled_back() {
    let mut world = World::new();
    let path = format!("sqlite:{}?mode=rwc", world.dir().join("t.db").display());
    for (id, before) in [("a.1", "create table t(a, b)"), ("b.1", "insert into t values (0, 'first')")] {
        assert_eq!(world.run(sql(id, &path, before, vec![])).await.0.kind, TaskEndKind::Answered);
    }
    const SERIES: &str = "with recursive n(x) as (select 1 union all select x + 1 from n where x < 12)";
    let long = [
        // The limit is passed in the middle, at the last row, and by the only one.
        format!("{SERIES} insert into t select x, hex(zeroblob(500000)) from n returning a, b"),
        format!(
            "{SERIES} insert into t select x, iif(x = 12, hex(zeroblob(4500000)), x) from n returning a, b"
        ),
        "insert into t values (1, hex(zeroblob(4500000))) returning b".to_owned(),
        "update t set a = 7 returning hex(zeroblob(4500000))".to_owned(),
        "delete from t returning hex(zeroblob(4500000))".to_owned(),
    ];
    for (n, query) in long.iter().enumerate() {
        let (end, output) = world.run(sql(&format!("long{n}.1"), &path, query, vec![])).await;
        let error = "the answer is longer than 8.0 MiB".to_owned();
        assert_eq!(end.kind, TaskEndKind::Errored { error }, "{query}");
        assert!(output.sql.is_none(), "{query}");
        let (_, output) = world.run(sql(&format!("after{n}.1"), &path, "select a, b from t", vec![])).await;
        assert_eq!(output.sql.unwrap().rows, [[json!(0), json!("first")]], "{query}");
    }
    // Just below it, the change stays.
    let short = "insert into t values (1, hex(zeroblob(4000000))) returning length(b), b";
    let (end, output) = world.run(sql("short.1", &path, short, vec![])).await;
    assert_eq!(end.kind, TaskEndKind::Answered);
    assert_eq!(output.sql.unwrap().rows[0][0], json!(8_000_000));
    let (_, output) = world.run(sql("count.1", &path, "select count(*) from t", vec![])).await;
    assert_eq!(output.sql.unwrap().rows, [[json!(2)]]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_query_without_end_is_ended() {
    const ENDLESS: &str =
        "with recursive c(x) as (select 1 union all select x + 1 from c) select count(*) from c";
    let mut world = World::new();
    let path = format!("sqlite:{}?mode=rwc", world.dir().join("t.db").display());
    let mut spec = sql("a.1", &path, ENDLESS, vec![]);
    spec.timeout = Some(Millis(200));
    assert_eq!(world.run(spec).await.0.kind, TaskEndKind::TimedOut);
    world.exec().begin(sql("b.1", &path, ENDLESS, vec![]));
    world.exec().stop(&task("b.1"), true);
    assert_eq!(world.end(&task("b.1")).await.0.kind, TaskEndKind::Cancelled);
}

#[tokio::test(flavor = "current_thread")]
async fn redirects_stay_on_their_host() {
    let elsewhere = serve(|_, _, stream| reply(stream, "200 OK", b"elsewhere"));
    let address = serve(move |head, _, stream| match head.split(' ').nth(1).unwrap() {
        "/near" => reply(stream, "302 Found\r\nlocation: /there", b""),
        "/far" => reply(stream, &format!("302 Found\r\nlocation: http://{elsewhere}/"), b""),
        "/round" => reply(stream, "302 Found\r\nlocation: /round", b""),
        _ => reply(stream, "200 OK", b"there"),
    });
    let mut world = World::new();
    let mut ask =
        async |id: &str, path: &str| world.run(http(id, "GET", &format!("http://{address}{path}"))).await;
    let (_, near) = ask("a.1", "/near").await;
    assert_eq!(near.http.unwrap().body, Ok("there".into()));
    let (_, far) = ask("b.1", "/far").await;
    assert_eq!(far.http.unwrap().status, 302);
    let (end, _) = ask("c.1", "/round").await;
    let error = format!("GET http://{address}/round: too many redirects");
    assert_eq!(end.kind, TaskEndKind::Errored { error });
}
