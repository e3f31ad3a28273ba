//! Parameters: their declared types, and checking a value against them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A declared parameter, as far as a value is checked against it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParamSpec {
    pub name: String,
    pub kind: ParamKind,
    pub pattern: Option<String>,
    pub choices: Vec<Value>,
    pub min: Option<Value>,
    pub max: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParamKind {
    String,
    Path,
    Integer,
    Number,
    Boolean,
    Duration,
    Size,
    List,
}

impl ParamSpec {
    /// The value in the parameter's type, or what is wrong with it. A text (from the command line or a template) is
    /// read as the type asks: `8` becomes the integer 8 for `integer`, `true` the boolean for `boolean`.
    pub fn check(&self, value: &Value) -> Result<Value, String> {
        let _ = value;
        todo!()
    }
}
