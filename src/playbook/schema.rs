//! The JSON schemas (draft 2020-12) of both files, made from the description of the format.
//!
//! Editors use them. They accept everything that the validator accepts; what a schema cannot say well (a duration's
//! order of units, ids that are unique) only the validator refuses.

use serde_json::{Map, Value, json};

use super::format::{CONFIG, PLAYBOOK};
use super::shape::{Keys, Kind, Object, Rule};

/// The schema of a playbook.
pub fn playbook_schema() -> Value {
    document("playbook", &PLAYBOOK)
}

/// The schema of `runbook.yaml`.
pub fn config_schema() -> Value {
    document("runbook", &CONFIG)
}

/// As the files in `schemas/` hold it.
pub fn to_text(schema: &Value) -> String {
    format!("{schema:#}\n")
}

fn document(name: &str, root: &'static Object) -> Value {
    let mut definitions = Definitions { made: Map::new() };
    let mut schema = definitions.object(root);
    let mut out = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("{name}.schema.json"),
        "title": root.name,
    });
    merge(&mut out, schema.take());
    if !definitions.made.is_empty() {
        out["$defs"] = Value::Object(definitions.made);
    }
    out
}

fn merge(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}

struct Definitions {
    made: Map<String, Value>,
}

impl Definitions {
    fn object(&mut self, object: &'static Object) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in object.all() {
            let mut schema = self.kind(&field.kind);
            schema["description"] = field.doc.into();
            properties.insert(field.name.into(), schema);
            if field.required {
                required.push(Value::from(field.name));
            }
        }
        let mut out = json!({
            "description": object.doc,
            "type": "object",
            "additionalProperties": false,
            "properties": properties,
        });
        if !required.is_empty() {
            out["required"] = required.into();
        }
        let rules: Vec<Value> = object.rules.iter().flat_map(rule).collect();
        if !rules.is_empty() {
            out["allOf"] = rules.into();
        }
        out
    }

    /// A reference to an object, which is made once.
    fn reference(&mut self, object: &'static Object) -> Value {
        let name = object.name.split_once(' ').map_or(object.name, |(_, noun)| noun).replace(' ', "-");
        if !self.made.contains_key(&name) {
            // Taken before the inside is made: an object may hold itself.
            self.made.insert(name.clone(), Value::Null);
            let made = self.object(object);
            self.made.insert(name.clone(), made);
        }
        json!({ "$ref": format!("#/$defs/{name}") })
    }

    fn kind(&mut self, kind: &'static Kind) -> Value {
        const DURATION: &str = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";
        match kind {
            Kind::Text | Kind::Template | Kind::SecretText => json!({ "type": "string" }),
            Kind::Expression => json!({ "type": "string", "minLength": 1 }),
            Kind::Name => json!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,62}$" }),
            Kind::Pattern => json!({ "type": "string", "format": "regex" }),
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::Int { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
            Kind::Number { min, max } => json!({ "type": "number", "minimum": min, "maximum": max }),
            Kind::Duration => json!({ "type": "string", "minLength": 2, "pattern": DURATION }),
            Kind::Timeout => json!({ "anyOf": [
                { "const": "none" },
                { "type": "string", "minLength": 2, "pattern": DURATION },
            ] }),
            Kind::Size => json!({ "type": "string", "pattern": "^[0-9]+ *([kMGT]?B|[KMGT]iB)?$" }),
            Kind::Date => json!({ "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" }),
            Kind::Choice(words) => {
                json!({ "enum": words })
            }
            Kind::Value => json!({}),
            Kind::Items => json!({ "anyOf": [
                { "type": "string", "minLength": 1 },
                { "type": "array", "minItems": 1 },
            ] }),
            Kind::EnvValue => json!({ "type": ["string", "number", "boolean"] }),
            Kind::List(item) => json!({ "type": "array", "items": self.kind(item) }),
            Kind::Some(item) => json!({ "type": "array", "minItems": 1, "items": self.kind(item) }),
            Kind::OneOrList(item) => {
                let item = self.kind(item);
                json!({ "anyOf": [item, { "type": "array", "minItems": 1, "items": item }] })
            }
            Kind::Argv => argv(),
            Kind::Pipeline => {
                json!({ "anyOf": [argv(), { "type": "array", "minItems": 1, "items": argv() }] })
            }
            Kind::Map { keys, values } => {
                let pattern = match keys {
                    Keys::Identifier | Keys::Variable => "^[A-Za-z_][A-Za-z0-9_]*$",
                    Keys::Name => "^[a-z0-9][a-z0-9-]{0,62}$",
                    Keys::Step => "^[a-z0-9][a-z0-9/-]*$",
                    Keys::Header => "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
                };
                json!({
                    "type": "object",
                    "propertyNames": { "pattern": pattern },
                    "additionalProperties": self.kind(values),
                })
            }
            Kind::Object(object) => self.reference(object),
        }
    }
}

fn argv() -> Value {
    json!({ "type": "array", "minItems": 1, "items": { "type": "string" } })
}

fn rule(rule: &Rule) -> Vec<Value> {
    let has = |key: &str| json!({ "required": [key] });
    let any = |keys: &[&str]| json!({ "anyOf": keys.iter().map(|key| has(key)).collect::<Vec<_>>() });
    match rule {
        Rule::One { keys, or, .. } => {
            let mut choices: Vec<Value> = keys.iter().map(|key| has(key)).collect();
            match or {
                [] => {}
                [or] => choices.push(json!({ "allOf": [has(or), { "not": any(keys) }] })),
                or => choices.push(json!({ "allOf": [any(or), { "not": any(keys) }] })),
            }
            vec![json!({ "oneOf": choices })]
        }
        Rule::Not { key, with, .. } => vec![json!({ "not": { "allOf": [has(key), any(with)] } })],
        Rule::Only { key, with } => vec![json!({ "if": has(key), "then": any(with) })],
    }
}
