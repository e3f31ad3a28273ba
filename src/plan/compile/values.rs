//! YAML values as plain values, and parameters as they are declared.

use serde_json::{Map, Number, Value};

use super::build::Builder;
use crate::plan::params::{ParamKind, ParamSpec};
use crate::playbook::ast::{self, Node, NodeKind, ParamType};
use crate::playbook::diagnostic::Diagnostic;

/// A value deeper than this could not be read back from the stored plan.
const MAX_DEPTH: usize = 32;

/// The value of a node; numbers that JSON does not know (`.inf`) and too deep nests become null.
pub(super) fn plain_value(node: &Node, depth: usize) -> Value {
    if depth > MAX_DEPTH {
        return Value::Null;
    }
    match &node.kind {
        NodeKind::Null => Value::Null,
        NodeKind::Bool(b) => Value::Bool(*b),
        NodeKind::Int(i) => Value::from(*i),
        NodeKind::Float(f) => Number::from_f64(*f).map_or(Value::Null, Value::Number),
        NodeKind::Text(text) => Value::String(text.value.clone()),
        NodeKind::List(items) => items.iter().map(|item| plain_value(item, depth + 1)).collect(),
        NodeKind::Map(entries) => {
            let entry = |(key, value): &(crate::playbook::source::Text, Node)| {
                (key.value.clone(), plain_value(value, depth + 1))
            };
            Value::Object(entries.iter().map(entry).collect::<Map<_, _>>())
        }
    }
}

/// A declared parameter as the plan's values are checked against it.
pub(super) fn spec_of(param: &ast::Param) -> ParamSpec {
    let kind = match param.kind.value {
        ParamType::String => ParamKind::String,
        ParamType::Path => ParamKind::Path,
        ParamType::Integer => ParamKind::Integer,
        ParamType::Number => ParamKind::Number,
        ParamType::Boolean => ParamKind::Boolean,
        ParamType::Duration => ParamKind::Duration,
        ParamType::Size => ParamKind::Size,
        ParamType::List => ParamKind::List,
    };
    ParamSpec {
        name: param.name.value.clone(),
        kind,
        pattern: param.pattern.as_ref().map(|p| p.value.clone()),
        choices: param.choices.iter().map(|c| plain_value(c, 0)).collect(),
        min: param.min.as_ref().map(|n| plain_value(n, 0)),
        max: param.max.as_ref().map(|n| plain_value(n, 0)),
    }
}

impl Builder<'_> {
    pub(super) fn value(&mut self, node: &Node) -> Value {
        if let NodeKind::Float(f) = node.kind
            && !f.is_finite()
        {
            self.push(Diagnostic::error(
                "bad-value",
                node.span,
                format!("`{f}` is not a number to work with"),
            ));
        }
        plain_value(node, 0)
    }

    /// A value typed in a playbook for a parameter: checked against the declaration, and free of templates.
    pub(super) fn check_param_value(
        &mut self,
        param: &ast::Param,
        value: &Value,
        span: crate::playbook::source::Span,
    ) {
        if let Value::String(text) = value
            && reads_a_name(text)
        {
            self.push(
                Diagnostic::error("not-a-template", span, "a parameter's value cannot hold a template here")
                    .label("it would stay as typed")
                    .help("templates work in the `params` of a `playbook:` step and of a drill"),
            );
            return;
        }
        if let Err(wrong) = spec_of(param).check(value) {
            let message = format!("wrong value for parameter `{}`", param.name.value);
            self.push(Diagnostic::error("param-value", span, message).label(wrong));
        }
    }

    /// A declaration must make sense by itself, and its default must pass it.
    pub(super) fn check_declaration(&mut self, param: &ast::Param) {
        let spec = spec_of(param);
        let name = &param.name.value;
        if let Some(pattern) = &param.pattern
            && let Err(error) = regex::Regex::new(&pattern.value)
        {
            let message = format!("the pattern of `{name}` is not a regular expression");
            // The library's text is a picture over several lines; its last line says what is wrong.
            let error = error.to_string();
            let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            self.push(Diagnostic::error("param-declaration", pattern.span, message).label(why));
            return;
        }
        // The parser reports a bound that is none; nothing can be checked against it.
        if spec.min.iter().chain(&spec.max).any(|bound| spec.bound(bound).is_err()) {
            return;
        }
        self.check_choices(param, &spec);
        if let Some(default) = &param.default {
            let value = self.value(default);
            self.check_param_value(param, &value, default.span);
        }
    }

    fn check_choices(&mut self, param: &ast::Param, spec: &ParamSpec) {
        let free = ParamSpec { choices: Vec::new(), ..spec.clone() };
        for (typed, choice) in param.choices.iter().zip(&spec.choices) {
            let as_list = Value::Array(vec![choice.clone()]);
            let checked = if spec.kind == ParamKind::List {
                free.convert(&as_list).map(|_| ())
            } else {
                free.check(choice).map(|_| ())
            };
            if let Err(wrong) = checked {
                let message = format!("parameter `{}` cannot have this choice", param.name.value);
                self.push(Diagnostic::error("param-declaration", typed.span, message).label(wrong));
            }
        }
    }
}

/// Whether the text looks as if its author expected a template. Braces alone are data (`{{.Names}}` of docker).
fn reads_a_name(text: &str) -> bool {
    text.split("{{").skip(1).any(|rest| {
        let name: String =
            rest.trim_start().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        matches!(name.as_str(), "params" | "steps" | "run" | "secrets" | "drill")
    })
}
