//! A password from wherever it is safe, or from the command line where it is not.

use std::io::IsTerminal;
use std::path::PathBuf;

use pushlet::secret::Secret;

/// How often a person at a terminal is asked.
const TRIES: usize = 3;

#[derive(clap::Args)]
#[group(multiple = false)]
pub(crate) struct Password {
    /// The file's password. Others on this machine can see it: better leave it out and be asked
    #[arg(long = "password", id = "password", value_name = "TEXT")]
    text: Option<String>,
    /// The environment variable that holds the password
    #[arg(long = "password-env", id = "password-env", value_name = "NAME")]
    variable: Option<String>,
    /// A file that holds the password; the end of its line does not count
    #[arg(long = "password-file", id = "password-file", value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Password {
    /// The password that was given; `None` for none.
    pub(crate) fn given(&self) -> Result<Option<Secret<String>>, String> {
        if let Some(text) = &self.text {
            return Ok(Some(Secret::new(text.clone())));
        }
        if let Some(name) = &self.variable {
            let text = std::env::var(name).map_err(|_| {
                format!("the environment variable {name} is not set, or is no text; set it")
            })?;
            return Ok(Some(Secret::new(text)));
        }
        let Some(path) = &self.file else { return Ok(None) };
        let text = std::fs::read_to_string(path).map_err(|error| {
            format!("the password file {} could not be read: {error}", path.display())
        })?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Ok(Some(Secret::new(text.strip_suffix('\r').unwrap_or(text).to_owned())))
    }
}

/// Asks the person at the terminal until `open` takes the password, three times at the most. What
/// it gave last is the result; with nobody to ask `first` is.
pub(crate) fn ask<T>(
    first: T,
    is_locked: impl Fn(&T) -> bool,
    open: impl Fn(&str) -> T,
) -> Result<T, String> {
    let mut result = first;
    if !std::io::stdin().is_terminal() {
        return Ok(result);
    }
    for _ in 0..TRIES {
        if !is_locked(&result) {
            break;
        }
        let password = rpassword::prompt_password("password: ")
            .map_err(|error| format!("the terminal could not be asked for a password: {error}"))?;
        result = open(&password);
    }
    Ok(result)
}
