//! What goes to a PostgreSQL server and comes back.

use proptest::prelude::*;
use runbook::exec::TaskSpec;
use runbook::model::{Op, Piece, SecretName, SecretText, SqlAnswer, SqlOp, TaskEndKind};
use serde_json::{Value, json};

use crate::keeper_support::{World, secrets, spec};
use crate::server::{PASSWORD, Postgres};

pub fn world() -> World {
    World::with(|config| config.secrets = secrets(&[("pw", PASSWORD)]))
}

pub fn password() -> SecretText {
    SecretText(vec![Piece::Secret(SecretName("pw".into()))])
}

pub fn sql(id: &str, url: &str, query: &str, binds: Vec<Value>) -> TaskSpec {
    spec(
        id,
        Op::Sql(SqlOp {
            database: SecretText::plain(url),
            password: Some(password()),
            ca_file: None,
            query: query.into(),
            binds,
        }),
    )
}

pub fn change(spec: &mut TaskSpec) -> &mut SqlOp {
    match &mut spec.op {
        Op::Sql(op) => op,
        _ => panic!("not a query"),
    }
}

/// Asks one thing after another.
pub struct Asker {
    pub world: World,
    pub url: String,
    asked: u32,
}

impl Asker {
    pub fn new(url: String) -> Self {
        Self { world: world(), url, asked: 0 }
    }

    pub async fn end(&mut self, query: &str, binds: Vec<Value>) -> Result<SqlAnswer, TaskEndKind> {
        self.asked += 1;
        let spec = sql(&format!("q{}.1", self.asked), &self.url, query, binds);
        let (end, output) = self.world.run(spec).await;
        match end.kind {
            TaskEndKind::Answered => Ok(output.sql.unwrap()),
            other => Err(other),
        }
    }

    pub async fn ask(&mut self, query: &str, binds: Vec<Value>) -> SqlAnswer {
        self.end(query, binds).await.unwrap_or_else(|end| panic!("{query}: {end:?}"))
    }

    /// The error of a statement that surely did nothing.
    pub async fn error(&mut self, query: &str, binds: Vec<Value>) -> String {
        match self.end(query, binds).await {
            Err(TaskEndKind::Errored { error }) => error,
            other => panic!("{query}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn statements_and_their_answers() {
    let Some(server) = Postgres::start() else { return };
    let mut asker = Asker::new(server.url(""));
    let made = asker
        .ask("create table t(id int primary key, name text, at timestamptz, tags text[], doc jsonb)", vec![])
        .await;
    assert_eq!((made.columns.len(), made.rows.len(), made.affected), (0, 0, 0));
    let binds = vec![
        json!(1),
        json!("it's; drop table t --"),
        json!("2026-11-21T18:00:00+01:00"),
        json!(["a", "b,\"{}"]),
        json!({"k": [1, null]}),
    ];
    let added = asker
        .ask("insert into t values ($1, $2, $3, $4, $5), (2, null, null, null, null) returning id", binds)
        .await;
    assert_eq!((added.rows, added.affected), (vec![vec![json!(1)], vec![json!(2)]], 2));
    let answer = asker
        .ask("select *, 1.50::numeric as n, pg_lsn '0/1' as lsn from t where id = $1", vec![json!("1")])
        .await;
    assert_eq!(answer.columns, ["id", "name", "at", "tags", "doc", "n", "lsn"]);
    assert_eq!(
        answer.rows,
        [[
            json!(1),
            json!("it's; drop table t --"),
            json!("2026-11-21T17:00:00Z"),
            json!(["a", "b,\"{}"]),
            json!({"k": [1, null]}),
            json!(1.5),
            json!("0/1")
        ]]
    );
    assert_eq!(answer.affected, 0);
    assert_eq!(asker.ask("update t set name = null", vec![]).await.affected, 2);
    let copied = asker.ask("create table u as select * from t", vec![]).await;
    assert_eq!(copied.affected, 2);

    // What needs the server's own transactions, or none.
    asker.ask("vacuum t", vec![]).await;
    asker.ask("create database other", vec![]).await;
    asker.ask("create index concurrently on t(name)", vec![]).await;
    asker.ask("create procedure twice() language plpgsql as $$begin insert into u(id) values (8); commit; insert into u(id) values (9); end$$", vec![]).await;
    asker.ask("call twice()", vec![]).await;
    assert_eq!(asker.ask("select count(*) from u", vec![]).await.rows, [[json!(4)]]);
    let said = asker.ask("do $$begin raise warning 'look at %', 'this'; end$$", vec![]).await;
    assert_eq!(said.notices, ["WARNING 01000: look at this"]);

    // Mistakes.
    let twice = asker.error("insert into t(id) values ($1)", vec![json!(1)]).await;
    assert!(twice.starts_with("ERROR 23505: duplicate key value"), "{twice}");
    assert!(twice.contains("(Key (id)=(1) already exists.)"), "{twice}");
    let typed = asker.error("select * from t where id = $1", vec![json!("one")]).await;
    assert!(typed.starts_with("ERROR 22P02: invalid input syntax for type integer: \"one\""), "{typed}");
    let several = asker.error("delete from t; delete from u", vec![]).await;
    assert!(several.contains("42601") && several.contains("multiple commands"), "{several}");
    assert_eq!(asker.error("  -- nothing", vec![]).await, "there is no statement in the query");
    assert!(asker.error("copy t to stdout", vec![]).await.contains("use `run` with psql"));
    assert!(asker.error("begin", vec![]).await.contains("left a transaction open"));
    assert!(asker.error("select $1::text", vec![json!("a\0b")]).await.contains("NUL byte"));
    assert!(asker.error("select $1::text", vec![json!(["a"])]).await.contains("::text[]"));
    assert!(asker.error("select 1", vec![json!(1)]).await.contains("has 0 parameters"));
    let pleased = asker.error("select 1/$1::int", vec![json!(0)]).await;
    assert_eq!(pleased, "ERROR 22012: division by zero");
    assert_eq!(asker.ask("select count(*) from t", vec![]).await.rows, [[json!(2)]]);
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_kept_and_what_is_not() {
    let Some(server) = Postgres::start() else { return };
    server.sql("create table a(id int primary key); create table b(a int references a deferrable initially deferred)");
    let mut asker = Asker::new(server.url(""));
    // The server says that the statement is done, and then refuses to keep it.
    let late = asker.error("insert into b values (7)", vec![]).await;
    assert!(late.starts_with("ERROR 23503: "), "{late}");
    // Too long to be held: rolled back.
    let long = "insert into a select generate_series(1, 12) returning id, repeat('x', 1000000)";
    let long = asker.error(long, vec![]).await;
    assert_eq!(long, "the answer is longer than 8.0 MiB; what the statement changed is rolled back");
    let row = asker.error("select repeat('x', 20000000)", vec![]).await;
    assert!(row.starts_with("the answer is longer than 8.0 MiB"), "{row}");
    asker.url = server.url("?mode=ro");
    let refused = asker.error("insert into a values (1)", vec![]).await;
    assert!(refused.starts_with("ERROR 25006: "), "{refused}");
    assert_eq!(asker.ask("select 1", vec![]).await.rows, [[json!(1)]]);
    asker.url = server.url("?options=-c%20search_path%3Dpg_catalog&application_name=drill");
    let session = "select current_setting('search_path'), current_setting('application_name'), \
                   current_setting('statement_timeout'), current_setting('TimeZone')";
    let session = asker.ask(session, vec![]).await;
    // A limit behind ours, for the case that this program is killed.
    assert_eq!(session.rows, [[json!("pg_catalog"), json!("drill"), json!("75s"), json!("UTC")]]);
    assert_eq!(server.sql("select (select count(*) from a), (select count(*) from b)"), "0|0");
}

#[tokio::test(flavor = "current_thread")]
async fn who_may_come_in() {
    let Some(server) = Postgres::start() else { return };
    let quoted = PASSWORD.replace('\'', "''");
    server.sql(&format!("create role clear login password '{quoted}'"));
    server.sql(&format!("set password_encryption = md5; create role digest login password '{quoted}'"));
    let mut world = world();
    let port = server.port;
    let at = |user: &str| format!("postgres://{user}@127.0.0.1:{port}/postgres");
    let socket = server.socket().display().to_string().replace('/', "%2F");
    for (n, url) in [
        at("admin"),
        at("digest"),
        at("clear"),
        format!("postgres://admin@/postgres?host={socket}&port={port}"),
    ]
    .iter()
    .enumerate()
    {
        let (end, output) =
            world.run(sql(&format!("a{n}.1"), url, "select current_user::text", vec![])).await;
        assert_eq!(end.kind, TaskEndKind::Answered, "{url}");
        assert!(url.contains(output.sql.unwrap().rows[0][0].as_str().unwrap()));
    }
    // In the URL, where it is percent-encoded.
    let mut within = sql("b.1", "", "select 1", vec![]);
    change(&mut within).password = None;
    change(&mut within).database = SecretText(vec![
        Piece::Plain("postgres://admin:".into()),
        Piece::UrlSecret(SecretName("pw".into())),
        Piece::Plain(format!("@127.0.0.1:{port}/postgres")),
    ]);
    assert_eq!(world.run(within).await.0.kind, TaskEndKind::Answered);

    let errors = |kind: TaskEndKind| match kind {
        TaskEndKind::Errored { error } => error,
        other => panic!("{other:?}"),
    };
    let mut none = sql("c.1", &server.url(""), "select 1", vec![]);
    change(&mut none).password = None;
    assert!(errors(world.run(none).await.0.kind).contains("give it as `password`"));
    let mut wrong = sql("d.1", &server.url(""), "select 1", vec![]);
    change(&mut wrong).password = Some(SecretText::plain("wrong"));
    let wrong = errors(world.run(wrong).await.0.kind);
    assert!(wrong.starts_with("FATAL 28P01: password authentication failed"), "{wrong}");
    let nowhere = format!("postgres://admin@127.0.0.1:{port}/nowhere");
    let nowhere = errors(world.run(sql("e.1", &nowhere, "select 1", vec![])).await.0.kind);
    assert!(nowhere.starts_with("FATAL 3D000: "), "{nowhere}");
    let missing =
        errors(world.run(sql("f.1", "postgres://admin@/x?host=/nowhere", "select 1", vec![])).await.0.kind);
    assert!(missing.contains("the socket /nowhere/.s.PGSQL.5432 cannot be used"), "{missing}");
    // The server repeats what it was told: masked.
    let echo = sql(
        "g.1",
        &server.url(""),
        "select $1::text, json_build_object('k', $1::text)",
        vec![json!(PASSWORD)],
    );
    let (_, output) = world.run(echo).await;
    assert_eq!(output.sql.unwrap().rows, [[json!("***"), json!({"k": "***"})]]);
}

/// Texts that would do harm if they were ever taken for SQL.
fn evil() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "'",
        "''",
        "\\",
        "\\'",
        "\"",
        ";",
        "--",
        "/*",
        "*/",
        "$$",
        "$1",
        "$tag$",
        "?",
        "{",
        "}",
        ",",
        "NULL",
        "\n",
        "\r",
        "\t",
        " ",
        "E'",
        "%",
        "ä",
        "\u{202e}",
        "\u{1f600}",
        "\u{feff}",
        "drop table t",
        "x",
        "\u{1}",
        "\u{7f}",
    ]);
    prop_oneof![
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat()),
        "[^\\x00]{0,40}".prop_map(|text| text),
    ]
}

/// Every text comes back byte for byte: as a text, in a list, in JSON; and the server counts as many bytes.
#[test]
fn evil_texts_come_back() {
    let Some(server) = Postgres::start() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut asker = runtime.block_on(async { Asker::new(server.url("")) });
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let batch = prop::collection::vec(evil(), 1..24);
    let asker = std::cell::RefCell::new(&mut asker);
    runner
        .run(&batch, |texts| {
            let query = (1..=texts.len())
                .map(|n| format!("select ${n}::text, octet_length(${n}::text), array[${n}::text], jsonb_build_object('k', ${n}::text)"))
                .collect::<Vec<_>>()
                .join(" union all ");
            let mut asker = asker.borrow_mut();
            let binds: Vec<Value> = texts.iter().map(|text| json!(text)).collect();
            let rows = runtime.block_on(asker.ask(&query, binds.clone())).rows;
            for (text, row) in texts.iter().zip(&rows) {
                prop_assert_eq!(row, &vec![json!(text), json!(text.len()), json!([text]), json!({ "k": text })]);
            }
            let lists = "select $1::text[], $2::jsonb, $3::jsonb[]";
            let answer = runtime.block_on(asker.ask(lists, vec![json!(binds), json!(binds), json!([{ "k": binds }])]));
            prop_assert_eq!(&answer.rows, &vec![vec![json!(binds), json!(binds), json!([{ "k": binds }])]]);
            Ok(())
        })
        .unwrap();
}
