//! A table of settings from which typed values are taken out; what is left over is unknown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Value;

use crate::secret::Secret;

/// One table of the configuration and what was wrong with it so far.
///
/// A key may be given by the file and by the environment: both values are checked, and the last
/// one counts.
pub(super) struct Table {
    name: String,
    /// Where it is, if it is one of a list.
    entry: Option<String>,
    file: PathBuf,
    values: BTreeMap<String, Vec<Found>>,
    asked: Vec<&'static str>,
    mistakes: Vec<String>,
}

/// A value and where it was found.
pub(super) struct Found {
    value: Value,
    origin: Origin,
}

/// What [`Table::take_json_or_path`] gives.
pub(super) enum JsonOrPath {
    Json(Secret<String>),
    Path(PathBuf),
}

enum Origin {
    File,
    Variable(String),
}

impl Table {
    /// The whole file.
    pub(super) fn root(values: toml::Table, file: &Path) -> Self {
        Self::new(String::new(), None, values, file)
    }

    /// An entry of a list that the environment gives, empty at first.
    pub(super) fn of_environment(list: &str) -> Self {
        let place = Some("the environment".to_owned());
        Self::new(list.to_owned(), place, toml::Table::new(), Path::new(""))
    }

    fn new(name: String, entry: Option<String>, values: toml::Table, file: &Path) -> Self {
        let in_file = |value| vec![Found { value, origin: Origin::File }];
        Self {
            name,
            entry,
            file: file.to_owned(),
            values: values.into_iter().map(|(key, value)| (key, in_file(value))).collect(),
            asked: Vec::new(),
            mistakes: Vec::new(),
        }
    }

    /// Lays a value over what is there.
    pub(super) fn add(&mut self, key: String, found: Found) {
        self.values.entry(key).or_default().push(found);
    }

    /// Whether the key is given, rightly or wrongly, and was not taken yet.
    pub(super) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// Takes a key out. `read` turns what was found into a value or says what is wrong with it, as
    /// the end of a sentence that starts with the key.
    pub(super) fn take<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Found) -> Result<T, String>,
    ) -> Option<T> {
        self.asked.push(key);
        let mut last = None;
        for found in self.values.remove(key).unwrap_or_default() {
            match read(&found) {
                Ok(value) => last = Some(value),
                Err(wrong) => self.mistakes.push(format!("{} {wrong}", self.place(key, &found))),
            }
        }
        last
    }

    /// Takes a path out: the file's are relative to its folder, the environment's to ours.
    pub(super) fn take_path(&mut self, key: &'static str) -> Option<PathBuf> {
        let folder = self.folder();
        self.take(key, |found| found.path(&folder).ok_or_else(|| found.but("the path of a file")))
    }

    /// Takes JSON text out, or the path of a file that holds it.
    pub(super) fn take_json_or_path(&mut self, key: &'static str) -> Option<JsonOrPath> {
        let folder = self.folder();
        self.take(key, |found| match found.text() {
            Some(text) if text.trim_start().starts_with('{') => {
                Ok(JsonOrPath::Json(Secret::new(text.to_owned())))
            }
            _ => found
                .path(&folder)
                .map(JsonOrPath::Path)
                .ok_or_else(|| found.but_hidden("the path of a file, or the JSON itself")),
        })
    }

    fn folder(&self) -> PathBuf {
        self.file.parent().unwrap_or(&self.file).to_owned()
    }

    /// Takes a table out, empty if it is not there.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        let values = self
            .take(key, |found| {
                found.value.as_table().cloned().ok_or_else(|| found.but("a table of keys"))
            })
            .unwrap_or_default();
        Self::new(self.path(key), None, values, &self.file)
    }

    /// Takes a list of tables out, empty if it is not there.
    pub(super) fn entries(&mut self, key: &'static str) -> Vec<Self> {
        let path = self.path(key);
        let tables = self.take(key, |found| {
            let list = found.value.as_array();
            let tables = list.and_then(|list| {
                list.iter().map(|value| value.as_table().cloned()).collect::<Option<Vec<_>>>()
            });
            tables.ok_or_else(|| {
                found.but_hidden(&format!("`[[{path}]]` in the configuration file, once or more"))
            })
        });
        let place =
            |number| format!("number {number} of `[[{path}]]` in `{}`", self.file.display());
        let numbered = tables.unwrap_or_default().into_iter().zip(1..);
        numbered
            .map(|(values, number)| {
                Self::new(path.clone(), Some(place(number)), values, &self.file)
            })
            .collect()
    }

    /// Records a mistake of an entry as a whole; `wrong` ends a sentence that starts with it.
    pub(super) fn wrong(&mut self, wrong: &str) {
        let place = self.entry.as_deref().unwrap_or(&self.name);
        self.mistakes.push(format!("{place} {wrong}"));
    }

    /// Records the mistakes of a table inside this one.
    pub(super) fn append(&mut self, mut mistakes: Vec<String>) {
        self.mistakes.append(&mut mistakes);
    }

    /// The mistakes so far, which are then forgotten here.
    pub(super) fn take_mistakes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.mistakes)
    }

    /// All mistakes, with one for each key that nobody asked for.
    pub(super) fn finish(mut self) -> Vec<String> {
        let left = std::mem::take(&mut self.values);
        for (key, found) in left.iter().flat_map(|(key, all)| all.iter().map(move |f| (key, f))) {
            self.mistakes.push(self.unknown(key, found));
        }
        self.mistakes
    }

    /// The mistake for a key that nobody asked for, with the nearest of those that somebody did.
    pub(super) fn unknown(&self, key: &str, found: &Found) -> String {
        let limit = key.chars().count().div_ceil(3);
        let nearest = self
            .asked
            .iter()
            .map(|known| (strsim::damerau_levenshtein(key, known), known))
            .filter(|(distance, _)| *distance <= limit)
            .min();
        let advice = match nearest {
            Some((_, known)) => format!("did you mean {}", self.spelt_like(known, found)),
            None => {
                let known: Vec<_> =
                    self.asked.iter().map(|known| self.spelt_like(known, found)).collect();
                format!("known are {}", known.join(", "))
            }
        };
        let place = self.place(&key.escape_debug().to_string(), found);
        format!("{place} is not known; {advice}")
    }

    /// How a key would be written where `found` was found.
    fn spelt_like(&self, key: &str, found: &Found) -> String {
        match &found.origin {
            Origin::File => format!("`{key}`"),
            Origin::Variable(_) if self.name.is_empty() => {
                format!("`PUSHLET_{}__…`", key.to_ascii_uppercase())
            }
            Origin::Variable(_) => format!("`PUSHLET_{}__{}`", self.name, key).to_ascii_uppercase(),
        }
    }

    /// Where a value stands, as the start of a sentence.
    fn place(&self, key: &str, found: &Found) -> String {
        match (&found.origin, &self.entry) {
            (Origin::Variable(name), _) => format!("the environment variable `{name}`"),
            (Origin::File, None) => {
                format!("`{}` in `{}`", self.path(key), self.file.display())
            }
            (Origin::File, Some(entry)) => format!("`{key}` in {entry}"),
        }
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}

impl Found {
    /// A value of the environment: always text, which may spell a number or a boolean.
    pub(super) fn variable(name: &str, text: &str) -> Self {
        let origin = Origin::Variable(name.to_owned());
        Self { value: Value::String(text.to_owned()), origin }
    }

    /// Whether this is the variable of that name.
    pub(super) fn is_variable(&self, name: &str) -> bool {
        match &self.origin {
            Origin::File => false,
            Origin::Variable(variable) => variable == name,
        }
    }

    /// The value as a path; those of the file start at its folder.
    fn path(&self, folder: &Path) -> Option<PathBuf> {
        let text = self.text().filter(|text| !text.is_empty())?;
        Some(match &self.origin {
            Origin::File => folder.join(text),
            Origin::Variable(_) => PathBuf::from(text),
        })
    }

    /// The value as text.
    pub(super) fn text(&self) -> Option<&str> {
        self.value.as_str()
    }

    /// The value as a boolean.
    pub(super) fn boolean(&self) -> Option<bool> {
        match self.origin {
            Origin::File => self.value.as_bool(),
            Origin::Variable(_) => self.text()?.parse().ok(),
        }
    }

    /// The value as a whole number that is not negative.
    pub(super) fn integer(&self) -> Option<usize> {
        match self.origin {
            Origin::File => usize::try_from(self.value.as_integer()?).ok(),
            Origin::Variable(_) => self.text()?.parse().ok(),
        }
    }

    /// The value as a list of texts; the environment has commas between them.
    pub(super) fn texts(&self) -> Option<Vec<&str>> {
        match self.origin {
            Origin::File => self.value.as_array()?.iter().map(Value::as_str).collect(),
            Origin::Variable(_) => {
                let texts = self.text()?.split(',').map(str::trim);
                Some(texts.filter(|text| !text.is_empty()).collect())
            }
        }
    }

    /// What is wrong, with the value.
    pub(super) fn but(&self, expected: &str) -> String {
        format!("is {}; expected {expected}", self.shown())
    }

    /// What is wrong, without the value, which may be or hold a secret.
    pub(super) fn but_hidden(&self, expected: &str) -> String {
        format!("is {}; expected {expected}", self.kind())
    }

    fn shown(&self) -> String {
        match &self.value {
            Value::String(text) if !text.is_empty() => {
                let start: String = text.chars().take(60).collect();
                let end = if start.len() < text.len() { "…" } else { "" };
                format!("`{}{end}`", start.escape_debug())
            }
            Value::Boolean(_) | Value::Datetime(_) | Value::Float(_) | Value::Integer(_) => {
                format!("`{}`", self.value)
            }
            Value::Array(_) | Value::String(_) | Value::Table(_) => self.kind().to_owned(),
        }
    }

    fn kind(&self) -> &'static str {
        match &self.value {
            Value::Array(_) => "a list",
            Value::Boolean(_) => "a boolean",
            Value::Datetime(_) => "a date",
            Value::Float(_) | Value::Integer(_) => "a number",
            Value::String(text) if text.is_empty() => "empty",
            Value::String(_) => "text",
            Value::Table(_) => "a table",
        }
    }
}
