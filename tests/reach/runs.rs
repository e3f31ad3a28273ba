//! Whole runs with queries and requests: where secrets do not appear, and what a killed run knows.

use nix::sys::signal::Signal;

use crate::https;
use crate::server::{PASSWORD, Postgres};
use crate::support::{World, wait_until};

const SECRETS: &str = "secrets:\n  pw: { env: DB_PASSWORD }\n";

fn run(world: &World, args: &[&str]) -> crate::support::Shown {
    crate::support::shown(world.cmd(args).env("DB_PASSWORD", PASSWORD))
}

/// No file of the state and nothing that was shown holds the password, in any usual form.
fn assert_silent(world: &World, shown: &crate::support::Shown) {
    let encoded = "s3cr3t%2F%40%3A%25%27%22pass";
    for (path, bytes) in world.files() {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("s3cr3t"), "{}: {text}", path.display());
    }
    for text in [&shown.out, &shown.err] {
        assert!(!text.contains(PASSWORD) && !text.contains(encoded), "{text}");
    }
}

#[test]
fn a_run_against_a_server() {
    let Some(server) = Postgres::start() else { return };
    server.sql("create table users(id int primary key, name text, tags text[])");
    let world = World::new();
    let port = server.port;
    world.playbook(
        "pg",
        &format!(
            "{SECRETS}params:\n  name: {{ type: string, default: \"O'Hara; drop table users --\" }}\n  tags: {{ type: list, default: [a, \"b,c\"] }}\n\
             steps:\n\
             \x20 - id: add\n    title: Add\n    sql:\n      database: postgres://admin@127.0.0.1:{port}/postgres\n\
             \x20     password: \"{{{{ secrets.pw }}}}\"\n\
             \x20     query: insert into users values (1, {{{{ params.name }}}}, {{{{ params.tags }}}}::text[]) returning id\n\
             \x20   expect: [ \"result.rows == [[1]]\", \"result.affected == 1\" ]\n\
             \x20   verify:\n\
             \x20     - sql:\n\
             \x20         database: \"postgres://admin:{{{{ secrets.pw }}}}@127.0.0.1:{port}/postgres?mode=ro\"\n\
             \x20         query: select name, tags, {{{{ params.name }}}} from users\n\
             \x20       expect: [ \"result.rows[0][0] == params.name\", \"result.rows[0][1] == params.tags\", \"result.rows[0][2] == params.name\" ]\n\
             \x20 - id: fail\n    title: Fail\n    sql:\n      database: \"postgres://admin:{{{{ secrets.pw }}}}@127.0.0.1:{port}/postgres\"\n\
             \x20     query: select {{{{ params.name }}}}::int\n    on_failure: continue\n"
        ),
    );
    let shown = run(&world, &["run", "pg", "--yes"]);
    assert_eq!(world.outcome("add"), "succeeded", "{shown:?}");
    assert_eq!(world.outcome("fail"), "failed", "{shown:?}");
    assert!(shown.err.contains("22P02") || shown.out.contains("22P02"), "{shown:?}");
    assert_eq!(server.sql("select name from users"), "O'Hara; drop table users --");
    assert_silent(&world, &shown);
}

/// A statement that was under way when its run was killed: nobody repeats it, and the server is not asked again.
#[test]
fn a_query_of_a_killed_run_is_in_doubt() {
    let Some(server) = Postgres::start() else { return };
    server.sql("create table t(a int)");
    let world = World::new();
    let port = server.port;
    let step = |id: &str, query: &str, more: &str| {
        format!(
            "  - id: {id}\n    title: {id}\n    sql:\n      database: postgres://admin@127.0.0.1:{port}/postgres\n\
             \x20     password: \"{{{{ secrets.pw }}}}\"\n      query: {query}\n{more}"
        )
    };
    let slow = "with new as (insert into t values (1) returning a) select a, pg_sleep(600) from new";
    world.playbook(
        "doubt",
        &format!(
            "{SECRETS}steps:\n  - {{ id: first, title: First, run: \"true\" }}\n{}",
            step("slow", slow, "")
        ),
    );
    let mut command = world.cmd(&["run", "doubt", "--yes"]);
    command.env("DB_PASSWORD", PASSWORD);
    let running = world.start_command(command);
    wait_until("the statement", || server.serving("pg_sleep(600)").is_some());
    running.signal(Signal::SIGKILL);
    running.wait();
    let run_id = world.last_run();
    let shown = run(&world, &["resume", &run_id]);
    assert_eq!(shown.code, 5, "{shown:?}");
    assert_eq!(world.outcome("slow"), "unknown");
    assert_eq!(
        server.sql("select count(*) from pg_stat_activity where query like 'with new%' and state = 'active'"),
        "1"
    );
    let shown = run(&world, &["resolve", &run_id, "slow", "--not-done", "--reason", "rolled back"]);
    assert_ne!(shown.code, 2, "{shown:?}");
    assert_silent(&world, &shown);
    drop(server);
}

/// A request that changes something is not sent a second time; one that only asks is.
#[test]
fn a_request_of_a_killed_run() {
    let Some(server) = https::Server::start(None) else { return };
    for (name, code, outcome) in [("post", 5, "unknown"), ("get", 1, "failed")] {
        let world = World::new();
        world.playbook(
            name,
            &format!(
                "steps:\n  - {{ id: first, title: First, run: \"true\" }}\n  - id: ask\n    title: Ask\n    timeout: 5s\n    http: {{ {name}: \"http://127.0.0.1:{}/slow\" }}\n",
                server.port
            ),
        );
        let running = world.start(&["run", name, "--yes"]);
        wait_until("the request", || started(&world) == 2);
        running.signal(Signal::SIGKILL);
        running.wait();
        let run_id = world.last_run();
        let shown = run(&world, &["resume", &run_id]);
        assert_eq!((shown.code, world.outcome("ask").as_str()), (code, outcome), "{shown:?}");
        assert_eq!(started(&world), if name == "post" { 2 } else { 3 }, "{shown:?}");
    }
}

/// How many tasks the run has begun so far.
fn started(world: &World) -> usize {
    let Some(run) = world.runs().pop() else { return 0 };
    let journal = std::fs::read_to_string(world.run_dir(&run).join("journal.jsonl")).unwrap_or_default();
    journal.matches("\"task_started\"").count()
}
