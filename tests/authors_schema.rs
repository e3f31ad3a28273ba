//! The committed schemas are what the program makes, and they speak of every key.

use std::path::Path;

use runbook::playbook::format::{CONFIG, PLAYBOOK};
use runbook::playbook::reference::reference_markdown;
use runbook::playbook::schema::{config_schema, playbook_schema, to_text};

#[test]
fn the_committed_schemas_are_fresh() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    for (name, schema) in
        [("playbook.schema.json", playbook_schema()), ("runbook.schema.json", config_schema())]
    {
        let path = folder.join(name);
        let fresh = to_text(&schema);
        if std::env::var_os("UPDATE_CASES").is_some() {
            std::fs::write(&path, &fresh).expect("the schema is written");
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == fresh, "schemas/{name} is stale: UPDATE_CASES=1 rewrites it");
    }
}

#[test]
fn every_reference_in_a_schema_has_its_definition() {
    for schema in [playbook_schema(), config_schema()] {
        let text = schema.to_string();
        let mut found = 0;
        for part in text.split("#/$defs/").skip(1) {
            let name = part.split('"').next().expect("a closing quote");
            assert!(schema["$defs"][name].is_object(), "{name}");
            found += 1;
        }
        assert!(found > 0);
    }
}

#[test]
fn the_reference_names_every_key_of_both_files() {
    let page = reference_markdown();
    for object in [&PLAYBOOK, &CONFIG] {
        for field in object.all() {
            assert!(page.contains(&format!("| `{}`", field.name)), "{}", field.name);
        }
    }
    for heading in ["## Step", "## Check", "## Retry", "## Drill", "## Undo", "## Alternative"] {
        assert!(page.contains(heading), "{heading}");
    }
}
