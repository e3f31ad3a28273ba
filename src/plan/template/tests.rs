//! Tests of the public functions: what each place makes of values, and the exact errors.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::model::{HttpAnswer, Millis, Piece, SecretName, SqlAnswer, TaskEndKind};

/// What the texts of these tests can read.
struct World {
    params: BTreeMap<String, Value>,
    outputs: BTreeMap<String, Value>,
    none: BTreeMap<String, Value>,
    result: Value,
    end: TaskEnd,
    output: TaskOutput,
    item: Value,
}

impl World {
    fn new() -> Self {
        let map = |v: Value| v.as_object().unwrap().clone().into_iter().collect::<BTreeMap<_, _>>();
        Self {
            params: map(json!({
                "db": "/srv/my db", "n": 3, "neg": -5, "flag": true, "list": [1, "two"], "nothing": null,
                "url": "http://localhost:5000/health", "octal": "010", "half": 0.5,
            })),
            outputs: map(json!({ "path": "/b/tasks-20260101T020000Z.db", "map": {"a": 1} })),
            none: BTreeMap::new(),
            result: json!({ "exit": 0, "stdout": "a\nb\n" }),
            end: TaskEnd::new(TaskEndKind::Exited { code: 3 }, Millis(1500)),
            item: json!({ "name": "web 1", "port": 80 }),
            output: TaskOutput { stdout: Some(Ok("{\"ok\": [1]}\n".into())), ..TaskOutput::none() },
        }
    }

    fn with<T>(&self, f: impl FnOnce(&Ctx<'_>) -> T) -> T {
        self.with_verdict(None, f)
    }

    fn with_verdict<T>(&self, verdict: Option<RunVerdict<'_>>, f: impl FnOnce(&Ctx<'_>) -> T) -> T {
        let done = StepView {
            outcome: Some(StepOutcome::Succeeded),
            outputs: &self.outputs,
            choice: None,
            result: Some(&self.result),
            items: None,
        };
        let first = json!("a b");
        let begun = ItemView { item: &first, outcome: Some(StepOutcome::Succeeded), outputs: &self.outputs };
        let other = ItemView { item: &self.item, outcome: None, outputs: &self.none };
        let items = [begun, other];
        let waiting = StepView {
            outcome: None,
            outputs: &self.none,
            choice: Some("a"),
            result: None,
            items: Some(&items),
        };
        let run = RunView {
            id: "r-1",
            dir: "/runs/r-1",
            started_at: "2026-01-01T00:00:00.000Z",
            operator: "alice",
            environment: None,
            verdict,
        };
        let place = crate::plan::DrillPlace { dir: "/drill".into(), port: 20_001, run: None };
        f(&Ctx {
            params: &self.params,
            steps: &[("pick", done), ("stop-app", waiting)],
            run: &run,
            item: Some(&self.item),
            result: Some((&self.end, &self.output)),
            groups: &crate::plan::template::NO_GROUPS,
            drill: Some(&place),
        })
    }
}

fn template(src: &str, place: Place) -> Template {
    Template { src: analyse(src, place).expect(src).normalised, uses: Vec::new() }
}

fn expr(src: &str) -> Expr {
    Expr { src: analyse(src, Place::Expression).expect(src).normalised, uses: Vec::new() }
}

fn text(src: &str) -> Result<String, String> {
    World::new().with(|ctx| render_text(&template(src, Place::Text), ctx)).map_err(|e| e.message)
}

fn value(src: &str) -> Result<Value, String> {
    World::new().with(|ctx| eval(&expr(src), ctx)).map_err(|e| e.message)
}

fn truth(src: &str) -> Result<bool, String> {
    World::new().with(|ctx| eval_bool(&expr(src), ctx)).map_err(|e| e.message)
}

/// Each error as `range: message (help)`.
fn refused(src: &str, place: Place) -> Vec<String> {
    let show = |e: TemplateError| {
        let quoted = e.range.map_or("-", |r| src.get(r).expect("a range within the source")).to_owned();
        let help = e.help.map(|h| format!(" ({h})")).unwrap_or_default();
        format!("{quoted}: {}{help}", e.message)
    };
    analyse(src, place).expect_err(src).into_iter().map(show).collect()
}

#[test]
fn text_writes_every_type() {
    assert_eq!(
        text("{{ params.db }} {{ params.n }} {{ params.flag }} {{ params.half }} {{ params.list }}\n")
            .unwrap(),
        "/srv/my db 3 true 0.5 [1,\"two\"]\n"
    );
    assert_eq!(text("{{ steps.stop-app.choice }}-{{ run.id }}-{{ drill.dir -}} x").unwrap(), "a-r-1-/drillx");
    assert_eq!(text("{% for x in params.list %}{{ x }};{% endfor %}").unwrap(), "1;two;");
    assert_eq!(text("{% raw %}{{.Names}}{% endraw %} ${#x} $\u{e9}").unwrap(), "{{.Names}} ${#x} $\u{e9}");
    assert_eq!(text("{{ params.nothing }}").unwrap_err(), "a value is null and cannot be written as text");
}

#[test]
fn what_does_not_exist_is_an_error_that_names_what_does() {
    for (src, message) in [
        (
            "{{ params.bd }}",
            "`params.bd` does not exist: the parameters of `params` are `db`, `flag`, `half`, `list`, `n`, `neg`, \
             `nothing`, `octal`, `url`",
        ),
        (
            "{{ steps.nope.outcome }}",
            "`steps.nope` does not exist: the steps of `steps` are `pick`, `stop-app`",
        ),
        (
            "{{ steps.pick.outputs.paht }}",
            "`steps.pick.outputs.paht` does not exist: the outputs of `steps.pick.outputs` are `map`, `path`",
        ),
        ("{{ steps.stop-app.outcome }}", "`steps.stop-app` is not over yet, so it has no outcome"),
        (
            "{{ steps.stop-app.outputs.x }}",
            "`steps.stop-app.outputs.x` does not exist: `steps.stop-app.outputs` has no outputs",
        ),
        ("{{ steps.pick.choice }}", "`steps.pick` (succeeded) has no choice"),
        ("{{ steps.pick.outputs.map.b }}", "`steps.pick.outputs.map.b` is undefined"),
        ("{{ steps.pick.outputs.path | default('x') | int }}", "invalid float literal (in `int`)"),
        ("{{ run.outcome }}", "`run.outcome` is known only in the `assert` of a drill"),
    ] {
        let error = text(src).unwrap_err();
        assert!(error.contains(message), "{src}: {error}");
    }
    assert_eq!(text("{{ run.environment is none }}").unwrap(), "true");
}

#[test]
fn names_are_checked_before_anything_runs() {
    for (src, place, errors) in [
        (
            "nope",
            Place::Expression,
            vec!["nope: undefined name `nope` (a text in quotes: 'nope'; a parameter: params.nope)"],
        ),
        ("parms.x == 1", Place::Expression, vec!["parms: undefined name `parms` (did you mean `params`?)"]),
        (
            "{{ a }} {{ b }}",
            Place::Text,
            vec![
                "a: undefined name `a` (a text in quotes: 'a'; a parameter: params.a)",
                "b: undefined name `b` (a text in quotes: 'b'; a parameter: params.b)",
            ],
        ),
        (
            "x {{ steps.stop-app.outcom }}",
            Place::Text,
            vec!["steps.stop-app.outcom: `steps.stop-app` has no field `outcom` (did you mean `outcome`?)"],
        ),
        (
            "{{ result.stdout }}",
            Place::Text,
            vec![
                "result.stdout: `result` is known only in `expect`, `outputs` and `retry.when` \
             (keep it as an output of the step and read steps.<id>.outputs)",
            ],
        ),
        (
            "result.stdot",
            Place::Expression,
            vec!["result.stdot: `result` has no field `stdot` (did you mean `stdout`?)"],
        ),
        (
            "{{ params.x | trimm }}",
            Place::Text,
            vec!["params.x | trimm: unknown filter `trimm` (did you mean `trim`?)"],
        ),
        ("{{ params.x.strip() }}", Place::Text, vec!["params.x.strip: there is no method `strip`"]),
        (
            "{{ params.x is definde }}",
            Place::Text,
            vec!["params.x is definde: unknown test `definde` (did you mean `defined`?)"],
        ),
        (
            "steps.a",
            Place::Expression,
            vec!["steps.a: `steps.a` needs a field: `choice`, `items`, `outcome`, `outputs`, `result`"],
        ),
        (
            "'a' if params.x",
            Place::Expression,
            vec!["'a' if params.x: this `if` has no `else` (say what the value is otherwise: a if b else c)"],
        ),
        (" ", Place::Expression, vec![" : the expression is empty"]),
        (
            "a {# b #}",
            Place::Text,
            vec![
                "{#: `{#` begins no comment here (use the YAML comment `#`; to write it literally: {{ '{#' }})",
            ],
        ),
        (
            "{{ secrets.pw }}",
            Place::Text,
            vec![
                "secrets.pw: a secret may only be used in `env`, `stdin`, `http` headers, bodies, URLs and `auth`, and \
                 the database and password of `sql`",
            ],
        ),
        (
            "{{ secrets.pw | upper }}",
            Place::SecretText,
            vec![
                "secrets.pw: a secret can only be used as it is (write {{ secrets.name }}, without filters or conditions)",
            ],
        ),
        (
            "{% if secrets.pw %}x{% endif %}",
            Place::SecretText,
            vec![
                "secrets.pw: a secret can only be used as it is (write {{ secrets.name }}, without filters or conditions)",
            ],
        ),
        (
            "result.exit == '0'",
            Place::Expression,
            vec!["'0': `result.exit` is a number and never equals a text (write 0 without quotes)"],
        ),
        (
            "steps.a.outcome == 'success'",
            Place::Expression,
            vec![
                "'success': there is no outcome 'success' (the outcomes are succeeded, satisfied, skipped, failed, \
             cancelled, unknown, undone, undo-failed)",
            ],
        ),
        (
            "run.phases.look.took <= '2x' and run.phases.look.length < '1m' and run.phases.look",
            Place::Expression,
            vec![
                "'2x': '2x' is not a duration: the unit \"x\" is not known: write a number and a unit, such as 500ms, \
             30s, 15m, 1h30m or 2d",
                "run.phases.look.length: `run.phases.look` has no field `length` (the fields are `took`)",
                "run.phases.look: `run.phases.look` needs a field: `took`",
            ],
        ),
        (
            "run.rto <= '2x'",
            Place::Expression,
            vec![
                "'2x': '2x' is not a duration: the unit \"x\" is not known: write a number and a unit, such as 500ms, \
             30s, 15m, 1h30m or 2d",
            ],
        ),
        (
            "{% set x %}a{% endset %}",
            Place::Text,
            vec![
                "set x %}a{% endset: `{% set %}` around text is not available (write {% set name = expression %})",
            ],
        ),
    ] {
        assert_eq!(refused(src, place), errors, "{src}");
    }
}

#[test]
fn references_are_listed_as_typed() {
    let src = "{% for f in steps.a-b.outputs.files %}{{ f }} {{ params['x y'] }}{% endfor %} {{ steps.a-b.outcome }}";
    let analysis = analyse(src, Place::Text).unwrap();
    let shown: Vec<(Vec<&str>, &str)> = analysis
        .references
        .iter()
        .map(|r| (r.path.iter().map(String::as_str).collect(), &src[r.range.clone()]))
        .collect();
    assert_eq!(
        shown,
        [
            (vec!["steps", "a-b", "outputs", "files"], "steps.a-b.outputs.files"),
            (vec!["params", "x y"], "params['x y']"),
            (vec!["steps", "a-b", "outcome"], "steps.a-b.outcome"),
        ]
    );
    assert_eq!(
        analysis.normalised,
        "{% for f in steps[\"a-b\"].outputs.files %}{{ f }} {{ params['x y'] }}{% endfor %} {{ steps[\"a-b\"].outcome }}"
    );
    let again = analyse(&analysis.normalised, Place::Text).unwrap();
    assert_eq!(again.normalised, analysis.normalised);
    let literal = analyse("'steps.a-b' ~ steps.2nd-x.choice", Place::Expression).unwrap();
    assert_eq!(literal.normalised, "'steps.a-b' ~ steps[\"2nd-x\"].choice");
}

/// MiniJinja's parser forgets what cannot be read when it stands behind a quoted text.
#[test]
fn nothing_behind_a_text_is_left_out() {
    for (src, place, range) in [
        ("params.db == 'a' && params.flag", Place::Expression, 17..18),
        ("params.db == 'a' ? 1 : 2", Place::Expression, 17..18),
        ("'a' 'open", Place::Expression, 9..9),
        ("result.duration < '2s' \u{fffd}", Place::Expression, 23..26),
        ("{% if params.db == 'a' && params.flag %}x{% endif %}", Place::Text, 23..24),
    ] {
        let errors = analyse(src, place).expect_err(src);
        assert_eq!(errors.iter().map(|e| e.range.clone()).collect::<Vec<_>>(), [Some(range)], "{src}");
    }
    assert_eq!(value("'a' 'b'"), Ok(json!("ab")));
}

#[test]
fn expressions_keep_types_and_truth_is_strict() {
    assert_eq!(value("params.list"), Ok(json!([1, "two"])));
    assert_eq!(value("steps.pick.result.lines"), Ok(json!(["a", "b"])));
    assert_eq!(value("result.json.ok[0] + params.n"), Ok(json!(4)));
    assert_eq!(value("result.duration"), Ok(json!(1.5)));
    assert_eq!(truth("result.exit == 3 and result.duration < '2s'"), Ok(true));
    assert_eq!(truth("result.duration < '1s'"), Ok(false));
    assert_eq!(truth("params.db"), Err("`params.db` is a text, not true or false".into()));
    assert_eq!(truth("'false'"), Err("`'false'` is a text, not true or false".into()));
    assert_eq!(truth("params.n"), Err("`params.n` is a number, not true or false".into()));
    assert_eq!(value("result.status"), Err("`result.status` is known only for `http`".into()));
    assert_eq!(value("result.stderr"), Err("`result.stderr` was not kept".into()));
    assert!(truth("params.nope").unwrap_err().starts_with("`params.nope` does not exist"));
}

#[test]
fn results_of_every_kind() {
    let mut world = World::new();
    world.end.kind = TaskEndKind::Answered;
    world.output = TaskOutput::none();
    world.output.sql = Some(SqlAnswer {
        columns: vec!["a".into()],
        rows: vec![vec![json!("ok")]],
        affected: 0,
        notices: vec![],
    });
    let holds =
        |world: &World, src: &str| world.with(|ctx| eval_bool(&expr(src), ctx)).map_err(|e| e.message);
    assert_eq!(
        holds(&world, "result.rows == [['ok']] and result.columns == ['a'] and result.affected == 0"),
        Ok(true)
    );
    assert_eq!(holds(&world, "result.exit == 0"), Ok(false));
    world.output = TaskOutput::none();
    world.output.http = Some(HttpAnswer {
        status: 200,
        headers: BTreeMap::from([("content-type".into(), "text/html".into())]),
        body: Ok("{\"up\": true}".into()),
    });
    assert_eq!(holds(&world, "result.status == 200 and result.json.up"), Ok(true));
    assert_eq!(holds(&world, "result.headers['content-type'] == 'text/html'"), Ok(true));
    world.output = TaskOutput { stdout: Some(Err("it is not UTF-8".into())), ..TaskOutput::none() };
    assert_eq!(
        holds(&world, "result.lines == []"),
        Err("`result.stdout` cannot be read: it is not UTF-8".into())
    );
    world.output = TaskOutput { stdout: Some(Ok("x".repeat(300_000))), ..TaskOutput::none() };
    let kept = result_value(&world.end, &world.output).unwrap_err();
    assert!(kept.message.starts_with("the result is too large to keep for later steps"), "{kept}");
}

#[test]
fn a_drill_compares_durations() {
    let world = World::new();
    let phases = [("look", Some(9_000)), ("re-build", Some(61_000)), ("prove", None)];
    let verdict = RunVerdict { outcome: "recovered", rto: Some(90_000), rpo: None, phases: &phases };
    let holds = |src: &str| {
        world.with_verdict(Some(verdict), |ctx| eval_bool(&expr(src), ctx)).map_err(|e| e.message)
    };
    assert_eq!(holds("run.outcome == 'recovered' and run.rto <= '2m'"), Ok(true));
    assert_eq!(holds("run.rto <= '80s'"), Ok(false));
    assert_eq!(holds("'1m' < run.rto <= '2m'"), Ok(true));
    assert_eq!(holds("run.rto <= ('1m' | duration) * 2"), Ok(true));
    assert_eq!(holds("run.phases.look.took <= '10s' and run.phases.re-build.took > '1m'"), Ok(true));
    assert_eq!(
        holds("run.phases.prove.took < '1h'"),
        Err("phase `prove` did not come to its end".into()),
        "one that was not over is not quick"
    );
    assert_eq!(holds("run.rpo <= '1h'"), Err("`run.rpo` was not measured".into()));
}

#[test]
fn secrets_stay_names() {
    let plain = |t: &str| Piece::Plain(t.into());
    let secret = || Piece::Secret(SecretName("pw".into()));
    let world = World::new();
    let src = template("user:{{ secrets.pw }}@{{ params.n }}", Place::SecretText);
    let rendered = world.with(|ctx| render_secret_text(&src, ctx)).unwrap();
    assert_eq!(rendered.0, [plain("user:"), secret(), plain("@3")]);
    let error = world.with(|ctx| render_text(&src, ctx)).unwrap_err();
    assert!(error.message.starts_with("a secret may only be used in"));
    let body = JsonTemplate::Map(vec![
        ("key".into(), JsonTemplate::Text(template("x {{ secrets.pw }}", Place::SecretText))),
        ("n".into(), JsonTemplate::Text(template("{{ params.n }}", Place::SecretText))),
        ("q".into(), JsonTemplate::Text(template("\"{{ params.db }}\"", Place::SecretText))),
        (
            "l".into(),
            JsonTemplate::List(vec![JsonTemplate::Value(json!(null)), JsonTemplate::Value(json!("a"))]),
        ),
    ]);
    let rendered = world.with(|ctx| render_json(&body, ctx)).unwrap();
    assert_eq!(
        rendered.0,
        [
            plain("{\"key\":\"x "),
            Piece::JsonSecret(SecretName("pw".into())),
            plain("\",\"n\":3,\"q\":\"\\\"/srv/my db\\\"\",\"l\":[null,\"a\"]}")
        ]
    );
}

#[test]
fn urls_encode_everything_but_their_base() {
    let url = |src: &str| {
        World::new()
            .with(|ctx| render_url(&template(src, Place::Url), ctx))
            .map(|t| t.to_string())
            .map_err(|e| e.message)
    };
    assert_eq!(
        url("{{ params.url }}?db={{ params.db }}").unwrap(),
        "http://localhost:5000/health?db=%2Fsrv%2Fmy%20db"
    );
    assert_eq!(url("http://h/{{ secrets.pw }}").unwrap(), "http://h/\u{2039}secret pw\u{203a}");
    assert_eq!(url("{{ params.db }}/x").unwrap_err(), "\"/srv/my db\" is not the beginning of a URL");
    assert_eq!(url("http://h/{{ params.db | raw }}").unwrap(), "http://h//srv/my db");
}

#[test]
fn queries_bind() {
    let query = |src: &str| {
        World::new()
            .with(|ctx| render_query(&template(src, Place::Query(Dialect::Sqlite)), Dialect::Sqlite, ctx))
            .map_err(|e| e.message)
    };
    assert_eq!(
        query(
            "SELECT * FROM t WHERE a = {{ params.db }} AND b IN ({{ params.n }},{{params.nothing}}) -- it's"
        )
        .unwrap(),
        (
            "SELECT * FROM t WHERE a = ?1 AND b IN (?2,?3) -- it's".into(),
            vec![json!("/srv/my db"), json!(3), json!(null)]
        )
    );
    assert_eq!(query("SELECT '?'").unwrap(), ("SELECT '?'".into(), vec![]));
    assert_eq!(
        query("PRAGMA {{ 'integrity_check' | raw }}").unwrap(),
        ("PRAGMA integrity_check".into(), vec![])
    );
    assert_eq!(query("SELECT {{ params.list }}").unwrap_err(), "a list or map cannot be bound to a query");
    for (src, message) in [
        (
            "SELECT 'it''s {{ params.n }}'",
            "params.n: a value inside quotes cannot be bound (write {{ }} without quotes around it; to join it with text: 'text' || {{ x }})",
        ),
        (
            "SELECT * FROM \"{{ params.n }}\"",
            "params.n: a value cannot be the name of a table or column (write the name itself, or splice text you trust with `| raw`)",
        ),
        (
            "SELECT 1 /* {{ params.n }} */",
            "params.n: a value inside a comment cannot be bound (remove it from the comment)",
        ),
        (
            "SELECT * FROM t{{ params.n }}",
            "params.n: a value cannot be part of a word (put a space around {{ }})",
        ),
        ("SELECT {{ params.n }}0", "params.n: a value cannot be part of a word (put a space around {{ }})"),
        (
            "SELECT ?, {{ params.n }}",
            "params.n: `?` and `{{ }}` cannot be mixed in a query (write every value as {{ }})",
        ),
    ] {
        assert_eq!(refused(src, Place::Query(Dialect::Sqlite)), [message], "{src}");
    }
}

#[test]
fn whole_values_keep_their_type() {
    let whole = |src: &str| World::new().with(|ctx| render_value(&template(src, Place::Text), ctx)).unwrap();
    assert_eq!(whole("{{ params.list }}"), json!([1, "two"]));
    assert_eq!(whole("{{ params.n }}"), json!(3));
    assert_eq!(whole("n={{ params.n }}"), json!("n=3"));
    assert_eq!(whole("plain"), json!("plain"));
}

#[test]
fn filters_of_our_own() {
    for (src, expected) in [
        ("'tasks-20260101T020000Z.db' | file_time", json!("2026-01-01T02:00:00Z")),
        ("'/b/20250101/tasks-2026-01-01T02:00:00Z' | file_time", json!("2026-01-01T02:00:00Z")),
        ("'backup_2026-01-01_02-00-00.sql' | file_time", json!("2026-01-01T02:00:00Z")),
        ("'20260101-143000' | file_time", json!("2026-01-01T14:30:00Z")),
        ("'tasks.2026-01-01.db.gz' | file_time", json!("2026-01-01T00:00:00Z")),
        ("'dump-2026-01-01T02:00:00+02:00.sql' | file_time", json!("2026-01-01T00:00:00Z")),
        ("'1h30m' | duration", json!(5_400_000)),
        ("'/a/b.db' | basename", json!("b.db")),
        ("'/a/b.db' | dirname", json!("/a")),
        ("'b' | dirname", json!(".")),
        ("'{\"a\": 1}' | from_json", json!({"a": 1})),
        ("'hi' | b64encode", json!("aGk=")),
        ("'' | sha256", json!("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")),
    ] {
        assert_eq!(value(src), Ok(expected), "{src}");
    }
    for (src, message) in [
        (
            "'tasks.db' | file_time",
            "the name \"tasks.db\" states no time: expected one like 20260101T020000Z or 2026-01-01_02-00-00",
        ),
        (
            "'a-2026-13-01.db' | file_time",
            "the name \"a-2026-13-01.db\" states no time: expected one like 20260101T020000Z or 2026-01-01_02-00-00",
        ),
        (
            "'2026-01-01-to-2026-01-02' | file_time",
            "the name \"2026-01-01-to-2026-01-02\" states more than one time",
        ),
        (
            "'2' | duration",
            "\"2\" is not a duration: a bare number has no unit: write 2s for seconds or 2m for minutes",
        ),
    ] {
        assert_eq!(value(src), Err(message.into()), "{src}");
    }
}

#[test]
fn every_listed_filter_test_and_function_exists() {
    for name in filters::FILTERS.iter().filter(|name| **name != "raw") {
        let error = value(&format!("'x' | {name}")).err().unwrap_or_default();
        assert!(!error.contains("unknown filter"), "{name}: {error}");
    }
    for name in filters::TESTS {
        let error = value(&format!("'x' is {name}")).err().unwrap_or_default();
        assert!(!error.contains("unknown test"), "{name}: {error}");
    }
    for name in filters::FUNCTIONS {
        let error = value(&format!("{name}()")).err().unwrap_or_default();
        assert!(!error.contains("unknown function"), "{name}: {error}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "the test itself measures")]
fn endless_texts_end() {
    let start = std::time::Instant::now();
    let loops = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
    assert_eq!(text(loops).unwrap_err(), "the text takes too long to render: does it loop without end?");
    let long = format!("{{% for a in range(9999) %}}{}{{% endfor %}}", "x".repeat(10_000));
    assert_eq!(text(&long).unwrap_err(), "the rendered text is longer than 1 MiB");
    assert!(start.elapsed().as_secs() < 10);
}

#[test]
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "the test itself measures")]
fn nothing_grows_without_bound() {
    let start = std::time::Instant::now();
    let doubled = |what: &str, end: &str| {
        let step = format!("{{% set a = {what} %}}");
        format!("{{% set a = {} %}}{}{{{{ {end} }}}}", "['x', 'y']", step.repeat(60))
    };
    let text_of = |what: &str| {
        format!("{{% set a = 'xy' %}}{}{{{{ a | length }}}}", format!("{{% set a = {what} %}}").repeat(60))
    };
    let deep = format!("{{% set a = [1] %}}{}{{{{ a | length }}}}", "{% set a = [a] %}".repeat(5000));
    let wide: String = (0..200).map(|n| format!("{{% set a{n} = 'x' * 10000000 %}}")).collect();
    for (src, expected) in [
        (text_of("a ~ a"), "a value would be larger than 16 MiB"),
        (text_of("a + a"), "a value would be larger than 16 MiB"),
        (text_of("a * 2"), "a value would be larger than 16 MiB"),
        ("{{ ('x' * 100000000) | length }}".to_owned(), "a value would be larger than 16 MiB"),
        (
            "{{ (('x' * 100000000) ~ ('x' * 100000000)) | length }}".to_owned(),
            "a value would be larger than 16 MiB",
        ),
        ("{{ ((1, 2) * 50000000) | length }}".to_owned(), "a value would be larger than 16 MiB"),
        (doubled("a + a", "a | list | length"), "a value would be larger than 16 MiB"),
        (doubled("a * 2", "a | list | length"), "a value would be larger than 16 MiB"),
        (doubled("[a, a]", "a"), "a value would be larger than 16 MiB"),
        (doubled("{'k': a, 'l': a}", "a"), "a value would be larger than 16 MiB"),
        (doubled("dict(k=a, l=a)", "a"), "a value would be larger than 16 MiB"),
        (doubled("a | chain(a)", "a | list | length"), "a value would be larger than 16 MiB"),
        (doubled("a | zip(a)", "a"), "a value would be larger than 16 MiB"),
        (deep, "a value is nested deeper than 64 levels"),
        (wide, "the text takes too much to render: does it grow without end?"),
    ] {
        let error = text(&src).unwrap_err();
        assert!(error.contains(expected), "{src:.80}: {error}");
    }
    // What is of a usual size is none the wiser.
    assert_eq!(
        text("{{ 'ab' * 3 }}{{ 1 + 2 * 3 }}{{ 1.5 + 1 }}{{ [1] + [2] }}{{ [0] * 2 }}{{ 1 ~ 'x' }}").unwrap(),
        "ababab72.5[1,2][0,0]1x"
    );
    assert_eq!(value("(1 + 2) * 2 == 6 and 'a' ~ 'b' == 'ab'"), Ok(json!(true)));
    assert_eq!(value("1 + 'x'").unwrap_err(), value("2 + 'x'").unwrap_err().replace("2 + ", "1 + "));
    // Unoptimised, and on a busy machine; without bounds it would not end at all.
    assert!(start.elapsed().as_secs() < 120);
}

#[test]
fn filters_make_no_more_than_can_be_held() {
    for src in [
        "range(100000) | join(range(100000) | join('x')) | length",
        "range(100000) | join | replace('1', range(9999) | join) | length",
        "'a\\nb' | indent(99999999999) | length",
        "'a\\nb' | indent(width=99999999999) | length",
        "[1] | batch(99999999999, 0) | length",
        "[1] | slice(99999999999, 0) | length",
        "[1] | tojson(indent=99999999999) | length",
    ] {
        let error = value(src).unwrap_err();
        assert!(error.ends_with("would make more than 16 MiB"), "{src}: {error}");
    }
    assert_eq!(value("params.list | join(', ')"), Ok(json!("1, two")));
    assert_eq!(value("[1, 2, 3] | batch(2, 0) | list"), Ok(json!([[1, 2], [3, 0]])));
    assert_eq!(value("'a\\nb' | indent(2)"), Ok(json!("a\n  b")));
    assert_eq!(value("'abc' | replace('b', 'xx')"), Ok(json!("axxc")));
    assert_eq!(value("[{'a': 1}, {'a': 2}] | join('-', attribute='a')"), Ok(json!("1-2")));
    assert_eq!(value("[1] | tojson"), Ok(json!("[1]")));
    assert_eq!(value("[1] | tojson(indent=1)"), Ok(json!("[\n 1\n]")));
}

#[test]
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "the test itself measures")]
fn ten_thousand_scripts_are_no_burden() {
    let world = World::new();
    let start = std::time::Instant::now();
    for _ in 0..10_000 {
        let script =
            template("cp -- {{ steps.pick.outputs.path }} \"{{ params.db }}\"", Place::Script(Shell::Bash));
        world.with(|ctx| render_script(&script, Shell::Bash, ctx)).unwrap();
    }
    // Unoptimised and on a busy machine; a release build takes a small part of it.
    let taken = start.elapsed();
    eprintln!("10,000 scripts analysed and rendered in {taken:?}");
    assert!(taken.as_secs() < 30);
}

#[test]
fn the_item_and_what_the_items_of_a_step_gave() {
    let world = World::new();
    let value = |src: &str| {
        let expr = Expr { src: analyse(src, Place::Expression).expect(src).normalised, uses: Vec::new() };
        world.with(|ctx| eval(&expr, ctx)).map_err(|e| e.message)
    };
    assert_eq!(value("item.name"), Ok(json!("web 1")));
    assert_eq!(value("steps.stop-app.items | length"), Ok(json!(2)));
    assert_eq!(value("steps.stop-app.items[0].outputs.map.a"), Ok(json!(1)));
    assert_eq!(value("steps.stop-app.items[1].item.port"), Ok(json!(80)));
    assert_eq!(
        value(
            "steps.stop-app.items[:1] | selectattr('outcome', 'equalto', 'succeeded') | map(attribute='item') | list"
        ),
        Ok(json!(["a b"]))
    );
    let wrong = |src: &str| value(src).expect_err(src);
    assert_eq!(
        wrong("steps.stop-app.items[1].outcome"),
        "`steps.stop-app.items[1]` was not begun, so it has no outcome"
    );
    assert!(wrong("steps.stop-app.items[1].outputs.path").contains("has no outputs"));
    assert!(wrong("steps.pick.items").contains("it has no `foreach`"), "{}", wrong("steps.pick.items"));
    assert!(wrong("item.host").contains("undefined"), "{}", wrong("item.host"));
    let script = template("ping {{ item.name }}", Place::Script(Shell::Bash));
    let script = world.with(|ctx| render_script(&script, Shell::Bash, ctx)).expect("a script");
    assert_eq!(script.env, [("RB_V1".to_owned(), "web 1".to_owned())]);
}

#[test]
fn queries_to_a_server_bind() {
    let place = Place::Query(Dialect::Postgres);
    let query = |src: &str| {
        let template = template(src, place);
        World::new().with(|ctx| render_query(&template, Dialect::Postgres, ctx)).map_err(|e| e.message)
    };
    for (src, expected) in [
        ("SELECT {{ params.n }}::int, a[{{ params.n }}:2]", "SELECT $1::int, a[$2:2]"),
        ("SELECT d ? 'k', d ?| {{ params.list }}, `", "SELECT d ? 'k', d ?| $1, `"),
        ("SELECT 'it''s', E'\\'', \"a\"\"b\", {{ params.n }}", "SELECT 'it''s', E'\\'', \"a\"\"b\", $1"),
        ("SELECT $$ ' $$, $a$ $$ ' $a$, {{ params.n }} -- '", "SELECT $$ ' $$, $a$ $$ ' $a$, $1 -- '"),
        ("SELECT /* /* */ ' */ {{ params.n }}", "SELECT /* /* */ ' */ $1"),
        ("SELECT a$b$c, {{ params.n }}, d$b$e", "SELECT a$b$c, $1, d$b$e"),
        ("SELECT name'\\', {{ params.n }}", "SELECT name'\\', $1"),
    ] {
        assert_eq!(query(src).map(|(text, _)| text), Ok(expected.to_owned()), "{src}");
    }
    assert_eq!(query("SELECT {{ params.list }}").unwrap().1, [json!([1, "two"])]);
    let quoted = "params.n: a value inside quotes cannot be bound (write {{ }} without quotes around it; to join it with text: 'text' || {{ x }})";
    let comment = "params.n: a value inside a comment cannot be bound (remove it from the comment)";
    let word = "params.n: a value cannot be part of a word (put a space around {{ }})";
    for (src, message) in [
        ("SELECT ' {{ params.n }} '", quoted),
        ("SELECT E'\\' {{ params.n }} '", quoted),
        ("SELECT e'\\\\' || ' {{ params.n }} '", quoted),
        ("SELECT $$ {{ params.n }} $$", quoted),
        ("SELECT $a$ $b$ {{ params.n }} $a$", quoted),
        ("SELECT /* /* */ {{ params.n }} */", comment),
        ("SELECT a{{ params.n }}", word),
        ("SELECT {{ params.n }}a", word),
        (
            "SELECT $1, {{ params.n }}",
            "params.n: `$` and `{{ }}` cannot be mixed in a query (write every value as {{ }})",
        ),
    ] {
        assert_eq!(refused(src, place), [message], "{src}");
    }
    // Where nobody knows whose it is, only what both refuse.
    assert_eq!(refused("SELECT ' {{ params.n }} '", Place::Query(Dialect::Unknown)), [quoted]);
    template("SELECT {{ params.n }}::int", Place::Query(Dialect::Unknown));
    template("SELECT `a'`, {{ params.n }}", Place::Query(Dialect::Unknown));
}
