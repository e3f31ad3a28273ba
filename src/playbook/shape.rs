//! The words in which the format is described. The description itself is in [`super::format`]; the validator, the
//! JSON schema and the reference page read nothing else.

/// What a value may be.
#[derive(Debug)]
pub enum Kind {
    /// Text for people, taken as it is.
    Text,
    /// Text with `{{ }}`.
    Template,
    /// `secrets.NAME`, or text in which `{{ secrets.NAME }}` may stand, and nothing else in braces.
    SecretText,
    /// An expression, without braces.
    Expression,
    /// `[a-z0-9-]`, 1 to 63 characters.
    Name,
    /// A regular expression.
    Pattern,
    Bool,
    /// A whole number within limits.
    Int {
        min: i64,
        max: i64,
    },
    /// A number within limits.
    Number {
        min: f64,
        max: f64,
    },
    Duration,
    /// A duration, or `none`.
    Timeout,
    Size,
    Date,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any value at all.
    Value,
    /// A list that is not empty, of any values, or an expression that gives a list.
    Items,
    /// Text; a number or a boolean is taken as it was typed.
    EnvValue,
    List(&'static Kind),
    /// A list that is not empty.
    Some(&'static Kind),
    /// One, or a list of them.
    OneOrList(&'static Kind),
    /// A list that is not empty.
    Argv,
    /// An argv, or a list of them.
    Pipeline,
    Map {
        keys: Keys,
        values: &'static Kind,
    },
    Object(&'static Object),
}

/// What the keys of a map may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// Used in expressions: `[A-Za-z_][A-Za-z0-9_]*`.
    Identifier,
    /// A variable of the environment; the same characters.
    Variable,
    Name,
    /// A step's id, with those of the groups around it.
    Step,
    /// A header of a request.
    Header,
}

/// A map with known keys.
#[derive(Debug)]
pub struct Object {
    /// With its article: `a step`.
    pub name: &'static str,
    pub doc: &'static str,
    pub fields: &'static [&'static [Field]],
    pub rules: &'static [Rule],
    /// Keys that people will try here, and why they are refused.
    pub refused: &'static [(&'static str, Refusal)],
}

#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
    /// One line.
    pub doc: &'static str,
}

#[derive(Debug)]
pub enum Refusal {
    /// It belongs somewhere else, or is not needed.
    Because(&'static str),
}

/// How keys of one object go together.
#[derive(Debug)]
pub enum Rule {
    /// Exactly one of `keys`; none is needed if one of `or` is there.
    One { what: &'static str, keys: &'static [&'static str], or: &'static [&'static str] },
    /// `key` cannot stand beside any of `with`.
    Not { key: &'static str, with: &'static [&'static str], because: &'static str },
    /// `key` says something only beside one of `with`.
    Only { key: &'static str, with: &'static [&'static str] },
}

impl Object {
    /// All fields, in the order of the description.
    pub fn all(&self) -> impl Iterator<Item = &'static Field> {
        self.fields.iter().flat_map(|group| group.iter())
    }

    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.all().find(|field| field.name == name)
    }
}

impl Kind {
    /// For "must be ...".
    pub fn words(&self) -> String {
        match self {
            Self::Text | Self::Template | Self::SecretText | Self::EnvValue => "text".into(),
            Self::Expression => "an expression (text)".into(),
            Self::Name => "a name (text)".into(),
            Self::Pattern => "a regular expression (text)".into(),
            Self::Bool => "true or false".into(),
            Self::Int { .. } => "a whole number".into(),
            Self::Number { .. } => "a number".into(),
            Self::Duration => "a duration, such as 30s or 5m".into(),
            Self::Timeout => "a duration, such as 30s or 5m, or none".into(),
            Self::Size => "a size, such as 200MiB".into(),
            Self::Date => "a date, such as 2026-11-01".into(),
            Self::Choice(words) => words.join(" or "),
            Self::Value => "a value".into(),
            Self::Items => "a list, or an expression (text) that gives one".into(),
            Self::List(_) | Self::Some(_) => "a list".into(),
            Self::OneOrList(kind) => format!("{} or a list of them", kind.words()),
            Self::Argv => "a list of texts: the command and its arguments".into(),
            Self::Pipeline => "a list of texts, or a list of such lists".into(),
            Self::Map { .. } => "a map".into(),
            Self::Object(object) => format!("{} (a map)", object.name),
        }
    }
}
