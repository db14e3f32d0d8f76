//! Where settings come from: the file and, laid over it, the environment.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::reader::{Found, Table};

/// File and environment, section by section.
pub(super) struct Sources {
    root: Table,
    /// What `PUSHLET_<SECTION>__<KEY>` says, by section; the text is the key.
    variables: BTreeMap<String, Vec<(String, Found)>>,
    mistakes: Vec<String>,
}

impl Sources {
    /// Reads `file`, or the one that `PUSHLET_CONFIG` names, or none.
    pub(super) fn open(file: Option<&Path>, environment: &BTreeMap<String, String>) -> Self {
        let file = file.or_else(|| environment.get("PUSHLET_CONFIG").map(Path::new));
        let values = file.map_or_else(|| Ok(toml::Table::new()), read);
        let (values, mistakes) = match values {
            Ok(values) => (values, Vec::new()),
            Err(mistake) => (toml::Table::new(), vec![mistake]),
        };
        let root = Table::root(values, file.unwrap_or_else(|| Path::new("")));
        Self { root, variables: variables(environment), mistakes }
    }

    /// Reads one section.
    pub(super) fn section<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Table) -> T,
    ) -> T {
        let mut table = self.root.section(name);
        self.mistakes.append(&mut self.root.take_mistakes());
        for (key, found) in self.variables.remove(name).unwrap_or_default() {
            table.add(key, found);
        }
        let section = read(&mut table);
        self.mistakes.append(&mut table.finish());
        section
    }

    /// Whether nothing was wrong in the sections read so far.
    pub(super) fn is_clean(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// Reads what stands outside of all sections, and gives it with all mistakes: one more for each
    /// section and variable that nobody asked for.
    pub(super) fn finish<T>(mut self, read: impl FnOnce(&mut Table) -> T) -> (T, Vec<String>) {
        for (section, variables) in &self.variables {
            let unknown = variables.iter().map(|(_, found)| self.root.unknown(section, found));
            self.mistakes.extend(unknown);
        }
        let rest = read(&mut self.root);
        self.mistakes.append(&mut self.root.finish());
        (rest, self.mistakes)
    }
}

/// The file as TOML.
fn read(path: &Path) -> Result<toml::Table, String> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        format!(
            "the configuration file `{}` cannot be read: {error}; name one that can, by \
             `--config` or `PUSHLET_CONFIG`",
            path.display()
        )
    })?;
    text.parse().map_err(|error| syntax_mistake(path, &text, &error))
}

/// A syntax error without the text it is about, which may be a secret.
fn syntax_mistake(path: &Path, text: &str, error: &toml::de::Error) -> String {
    let span = error.span().unwrap_or_default();
    let before = text.get(..span.start).unwrap_or_default();
    let line = before.matches('\n').count().saturating_add(1);
    let place = format!("line {line} of `{}` is not TOML", path.display());
    let culprit = text.get(span).unwrap_or_default();
    // A number that is too large is quoted; a single sign, as in "expected `,`", tells nothing.
    if culprit.len() > 3 && error.message().contains(culprit) {
        format!("{place}: this value cannot be read")
    } else {
        format!("{place}: {}", error.message())
    }
}

/// The variables `PUSHLET_<SECTION>__<KEY>` by section, with `PORT` as `server.bind` where nothing
/// closer says it.
fn variables(environment: &BTreeMap<String, String>) -> BTreeMap<String, Vec<(String, Found)>> {
    let mut sections = BTreeMap::<String, Vec<(String, Found)>>::new();
    for (name, text) in environment {
        let rest = name.strip_prefix("PUSHLET_");
        if let Some((section, key)) = rest.and_then(|rest| rest.split_once("__")) {
            let section = sections.entry(section.to_ascii_lowercase()).or_default();
            section.push((key.to_ascii_lowercase(), Found::variable(name, text)));
        }
    }
    if let Some(port) = environment.get("PORT") {
        let server = sections.entry("server".to_owned()).or_default();
        if !server.iter().any(|(key, _)| key == "bind") {
            server.push(("bind".to_owned(), Found::variable("PORT", port)));
        }
    }
    sections
}
