//! `pushlet systemd-unit`: the unit for systemd, which comes with the program and so is never lost.

use super::say;

const UNIT: &str = include_str!("pushlet.service");
/// Where the program is in the unit as it is written.
const USUAL_PLACE: &str = "/usr/local/bin/pushlet";

/// Prints it, with the place of this very program.
pub(crate) fn run() {
    say(unit(here().as_deref().unwrap_or(USUAL_PLACE)).trim_end());
}

fn unit(program: &str) -> String {
    UNIT.replace(USUAL_PLACE, program)
}

/// `None` for a path that a unit could not hold without quotes.
fn here() -> Option<String> {
    let path = std::env::current_exe().ok()?.into_os_string().into_string().ok()?;
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte);
    path.bytes().all(known).then_some(path)
}
