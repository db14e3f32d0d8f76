//! `src/api/openapi.json` against the source: what is on one side alone fails here. What is on the
//! wire is judged by `tests/support/openapi.rs`, in every test that calls a relay.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{quoted, root};
use crate::support::openapi::{Operation, PLACE, codes, document, members, object, operations};

/// Headers that are no parameters: of a part of a body, a browser's, and those of proxies.
const HEADERS_OF_HTTP: &[&str] = &[
    "content-transfer-encoding",
    "sec-fetch-site",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];
/// Members that a legacy endpoint behind the relay may answer, and no code of ours.
const MEMBERS_OF_OTHERS: &[&str] = &["failed_registration_ids", "openapi", "registration_id"];

/// A route is a path in a function whose name ends in `routes`, and the handlers after it.
struct Route {
    path: String,
    /// Each method, and the file of its handler's module.
    handlers: Vec<(String, PathBuf)>,
}

#[test]
fn every_route_is_described() {
    let served: BTreeSet<_> = routes().into_iter().map(|route| route.path).collect();
    let described: BTreeSet<_> = object(&document()["paths"]).keys().cloned().collect();

    assert!(served.contains("/send_notification"));
    assert_same("paths", &described, &served, "the source");
}

#[test]
fn routes_stand_where_they_are_looked_for() {
    for file in surface() {
        let text = code(&file);
        let inside: String = functions(&text, "routes").concat();
        for word in ["web::resource(", "web::scope(", ".route(\"", "#[get(", "#[post("] {
            assert_eq!(
                text.matches(word).count(),
                inside.matches(word).count(),
                "{}: `{word}` outside of a function whose name ends in `routes`, where {PLACE} is \
                 held against it",
                file.display()
            );
        }
    }
}

#[test]
fn every_parameter_of_a_body_is_described() {
    let mut of_module = BTreeMap::<PathBuf, BTreeSet<String>>::new();
    for route in routes() {
        for (method, module) in route.handlers {
            let described = of_module.entry(module).or_default();
            let is_it = |one: &&Operation| one.path == route.path && one.method == method;
            for operation in operations().iter().filter(is_it) {
                described.extend(operation.parameters());
            }
        }
    }
    for (module, described) in of_module {
        let known = parameters(&module);
        assert_same("parameters", &described, &known, &module.display().to_string());
    }
}

#[test]
fn every_header_that_is_read_or_answered_is_described() {
    let text = document().to_string().to_lowercase();
    let mut looked_at = 0;
    for file in surface() {
        let source = code(&file);
        let of_words = [
            "HeaderName::from_static(\"",
            "headers().get(\"",
            "headers.get(\"",
            "insert_header((\"",
        ];
        for name in of_words.iter().flat_map(|start| after(&source, start)) {
            looked_at += 1;
            let is_named = text.contains(&format!("\"{name}\""));
            assert!(
                is_named || HEADERS_OF_HTTP.contains(&name.as_str()),
                "{}: the header {name} is not in {PLACE}; describe it there as a parameter or as \
                 a header of the answers",
                file.display()
            );
        }
    }
    assert!(looked_at >= 3, "{looked_at}");
}

#[test]
fn every_code_is_described_with_its_status() {
    let mut described = BTreeSet::new();
    for operation in operations() {
        for (status, response) in operation.responses() {
            described.extend(codes(response).into_iter().map(|code| (status, code.to_owned())));
        }
    }
    for response in object(&document()["components"]["responses"]).values() {
        for code in codes(response) {
            let status = match code {
                "not_found" => 404,
                "method_not_allowed" => 405,
                _ => {
                    let answered = described.iter().any(|(_, known)| known == code);
                    assert!(answered, "no operation of {PLACE} answers {code}");
                    continue;
                }
            };
            described.insert((status, code.to_owned()));
        }
    }
    let has_codes = |operation: &Operation| {
        operation.responses().get(&400).is_some_and(|response| !codes(response).is_empty())
    };
    let of_parameters: BTreeSet<_> = operations()
        .iter()
        .filter(|operation| has_codes(operation))
        .flat_map(|operation| operation.parameters())
        .map(|parameter| (400, invalid(&parameter)))
        .collect();

    let known: BTreeSet<_> = codes_of_source().union(&of_parameters).cloned().collect();

    assert_same("codes", &described, &known, "the source");
}

/// Both sides have the same.
fn assert_same<T: Debug + Ord>(what: &str, described: &BTreeSet<T>, known: &BTreeSet<T>, by: &str) {
    let missing: Vec<_> = known.difference(described).collect();
    let invented: Vec<_> = described.difference(known).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "{what}: describe in {PLACE} what {by} has: {missing:?}; and take out of it what {by} has \
         not: {invented:?}"
    );
}

/// `data` has the documented code.
fn invalid(parameter: &str) -> String {
    if parameter == "data" {
        "invalid_data_json".to_owned()
    } else {
        format!("invalid_{parameter}")
    }
}

#[test]
fn a_call_has_the_codes_of_its_parameters() {
    for operation in operations() {
        let responses = operation.responses();
        let codes: BTreeSet<_> = responses
            .get(&400)
            .map(|response| codes(response))
            .unwrap_or_default()
            .into_iter()
            .collect();
        if codes.is_empty() {
            continue;
        }
        let expected: BTreeSet<_> = operation.parameters().iter().map(|p| invalid(p)).collect();
        let own: BTreeSet<_> = codes
            .iter()
            .filter(|code| code.starts_with("invalid_"))
            // Of the body as such, and of a header.
            .filter(|code| !["invalid_request", "invalid_idempotency_key"].contains(code))
            .map(|code| (*code).to_owned())
            .collect();
        let place = format!("the parameters of {}", operation.path);
        assert_same("codes", &own, &expected, &place);
    }
}

/// Status and code, wherever they stand together.
fn codes_of_source() -> BTreeSet<(u16, String)> {
    let mut found = BTreeSet::new();
    for file in surface() {
        let text = code(&file);
        for (place, status) in statuses(&text) {
            for status in status {
                if let Some(code) = literal(&text[place..]) {
                    found.insert((*status, code));
                }
            }
        }
        for (place, start) in
            text.match_indices("ApiError::new(").chain(text.match_indices("Self::new("))
        {
            check_readable(&file, &text[place + start.len()..]);
        }
        // Apple's rules; each has a code.
        for arm in text.split("Impossible::").skip(1) {
            let Some((variant, rest)) = arm.split_once("=>") else { continue };
            if let Some(code) = literal(rest)
                && !variant.contains(';')
            {
                found.insert((400, code));
            }
        }
    }
    found
}

/// The places after a status and its comma.
fn statuses(text: &str) -> Vec<(usize, &'static [u16])> {
    let mut places = Vec::new();
    for (word, status) in STATUSES {
        for (place, _) in text.match_indices(word) {
            let rest = &text[place + word.len()..];
            if rest.starts_with(',') {
                places.push((place + word.len() + 1, *status));
            }
        }
    }
    for name in after(text, "StatusCode::") {
        let name = name.split('.').next().unwrap_or_default();
        let known = STATUSES.iter().any(|(word, _)| word.ends_with(&format!("::{name}")));
        assert!(
            known || ["NOT_MODIFIED", "OK", "from_u16", ""].contains(&name),
            "StatusCode::{name} is new to tests/docs/openapi.rs; teach it"
        );
    }
    places
}

const STATUSES: &[(&str, &[u16])] = &[
    ("StatusCode::BAD_GATEWAY", &[502]),
    ("StatusCode::BAD_REQUEST", &[400]),
    ("StatusCode::CONFLICT", &[409]),
    ("StatusCode::FORBIDDEN", &[403]),
    ("StatusCode::GATEWAY_TIMEOUT", &[504]),
    ("StatusCode::GONE", &[410]),
    ("StatusCode::INTERNAL_SERVER_ERROR", &[500]),
    ("StatusCode::METHOD_NOT_ALLOWED", &[405]),
    ("StatusCode::NOT_FOUND", &[404]),
    ("StatusCode::PAYLOAD_TOO_LARGE", &[413]),
    ("StatusCode::SERVICE_UNAVAILABLE", &[503]),
    ("StatusCode::TOO_MANY_REQUESTS", &[429]),
    ("StatusCode::UNAUTHORIZED", &[401]),
    ("StatusCode::UNPROCESSABLE_ENTITY", &[422]),
    ("StatusCode::UNSUPPORTED_MEDIA_TYPE", &[415]),
    ("(UNAVAILABLE", &[503]),
    // Whose the credentials are decides.
    ("(credentials_status", &[403, 502]),
    // Of `Impossible::PayloadTooLarge`.
    ("Self::new(status", &[413]),
];

/// An error is made of a status and a code that stand beside each other, so that both are found
/// here; in the files that map outcomes they may stand in the arm above.
fn check_readable(file: &Path, arguments: &str) {
    let (_, code) = arguments.split_once(',').unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    let is_mapping = ["error.rs", "outcome.rs"].contains(&name);
    assert!(
        is_mapping || literal(code).is_some(),
        "{}: write status and code of an `ApiError` as they are, not by a variable, so that {PLACE} \
         can be held against them",
        file.display()
    );
}

#[test]
fn every_member_of_an_answer_is_described() {
    let mut described = BTreeSet::new();
    for operation in operations() {
        for response in operation.responses().values() {
            for media in response.get("content").map(object).into_iter().flat_map(|c| c.values()) {
                members(&media["schema"], &mut described);
            }
        }
    }
    // What no body of a call is, is of an answer, such as a row of many.
    let of_calls: Vec<_> = operations().iter().flat_map(Operation::bodies).collect();
    for (name, schema) in object(&document()["components"]["schemas"]) {
        let reference = json!({ "$ref": format!("#/components/schemas/{name}") });
        if !of_calls.contains(&&reference) {
            members(schema, &mut described);
        }
    }
    let mut written = BTreeSet::new();
    for file in surface() {
        written.extend(serialized(&code(&file), |_| true));
    }
    let legacy = code(&root().join("src/providers/legacy.rs"));
    written.extend(serialized(&legacy, |name| ["Report", "Row"].contains(&name)));

    assert!(written.contains("multicast_id"));
    let undescribed: Vec<_> = written.difference(&described).collect();
    assert!(
        undescribed.is_empty(),
        "{undescribed:?} are answered and not in {PLACE}; describe them"
    );
    let all: String = sources(&root().join("src")).iter().map(|file| code(file)).collect();
    for name in described.difference(&written) {
        let is_written = all.contains(&format!("\"{name}\"")) || all.contains(&format!(" {name}:"));
        assert!(
            is_written || MEMBERS_OF_OTHERS.contains(&name.as_str()),
            "{PLACE} describes the member {name}, which nothing answers"
        );
    }
}

/// The members of the types that derive `Serialize`.
fn serialized(text: &str, is_meant: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for item in text.split("#[derive(").skip(1) {
        let Some((derives, item)) = item.split_once(")]") else { continue };
        let Some((head, body)) = item.split_once('{') else { continue };
        let name = head
            .split(['<', ' ', '\n'])
            .skip_while(|word| !["struct", "enum"].contains(word))
            .nth(1);
        if !derives.contains("Serialize") || head.contains(';') || !name.is_some_and(&is_meant) {
            continue;
        }
        let body = body.split("\n}").next().unwrap_or_default();
        let mut renamed = None;
        let mut is_flat = false;
        for line in body.lines().map(str::trim) {
            if line.starts_with("#[serde(") {
                renamed = renamed.or(after(line, "rename = \"").pop());
                is_flat |= line.contains("flatten");
                continue;
            }
            let line = line.strip_prefix("pub ").unwrap_or(line);
            let Some((field, _)) = line.split_once(": ") else { continue };
            if !is_flat && field.chars().all(|sign| sign.is_ascii_alphanumeric() || sign == '_') {
                names.insert(renamed.take().unwrap_or_else(|| field.to_owned()));
            }
            (renamed, is_flat) = (None, false);
        }
    }
    names
}

/// Every route of the relay.
fn routes() -> Vec<Route> {
    let mut routes = Vec::new();
    for file in surface() {
        let text = code(&file);
        for function in functions(&text, "routes") {
            let mut rest = function;
            while let Some((before, after)) = rest.split_once("\"/") {
                let (path, after) = after.split_once('"').unwrap();
                // A loop over paths names the handlers after the last.
                let own = after.split("\"/").next().unwrap();
                let handlers = handlers(&file, if own.contains("().to(") { own } else { after });
                assert!(
                    !handlers.is_empty(),
                    "write the handlers of /{path}, after `{before}`, as `module::function`, so \
                     that {PLACE} can be held against them"
                );
                routes.push(Route { path: format!("/{path}"), handlers });
                rest = after;
            }
        }
    }
    routes
}

/// Such as `web::get().to(module::function)`.
fn handlers(file: &Path, text: &str) -> Vec<(String, PathBuf)> {
    let parts = text.split("web::").filter_map(|part| part.split_once("().to("));
    let named = parts.filter_map(|(method, rest)| Some((method, rest.split_once("::")?.0)));
    named.map(|(method, name)| (method.to_uppercase(), module(file, name))).collect()
}

/// The file of a module that stands beside, or below, the file that names it.
fn module(from: &Path, name: &str) -> PathBuf {
    let folder = from.parent().unwrap();
    let places = [format!("{name}.rs"), format!("{name}/mod.rs")];
    let own = folder.join(from.file_stem().unwrap());
    let all = places.iter().flat_map(|place| [folder.join(place), own.join(place)]);
    all.into_iter()
        .find(|file| file.exists())
        .unwrap_or_else(|| panic!("no module {name} beside {from:?}"))
}

/// The names that a module lets its calls have: the lists that it hands to `check_names`; of the
/// legacy call those that it reads.
fn parameters(module: &Path) -> BTreeSet<String> {
    let text = code(module);
    let mut names = BTreeSet::new();
    for lists in text.split("check_names(&[").skip(1) {
        for list in lists.split(']').next().unwrap().split(',') {
            names.extend(constant(module, list.trim()));
        }
    }
    if module.ends_with("drop_in.rs") {
        let reads =
            ["fields.read(\"", "fields.read::<String>(\"", "fields.flag(\"", "fields.object(\""];
        // rustfmt may break a chain after `fields`.
        let flat: String =
            text.split_whitespace().collect::<Vec<_>>().join(" ").replace("fields .", "fields.");
        names.extend(reads.iter().flat_map(|start| after(&flat, start)));
        let (_, form) = text.split_once("fn of_form").unwrap();
        let (form, _) = form.split_once("other =>").unwrap();
        names.extend(form.lines().filter(|line| line.contains("=>")).flat_map(quoted_first));
    }
    names
}

fn quoted_first(line: &str) -> Option<String> {
    line.trim().starts_with('"').then(|| quoted(line).remove(0))
}

/// The words of `const NAME: &[&str]`, of the module itself or else of the one that has it.
fn constant(module: &Path, name: &str) -> Vec<String> {
    let start = format!("const {name}: &[&str] = &[");
    let mut files = surface();
    files.insert(0, module.to_owned());
    let text = files.iter().map(|file| code(file)).find(|text| text.contains(&start));
    let text =
        text.unwrap_or_else(|| panic!("no list {name} of parameters for {}", module.display()));
    let (_, list) = text.split_once(&start).unwrap();
    quoted(list.split_once("];").unwrap().0)
}

/// Whole functions whose names end so.
fn functions<'a>(text: &'a str, end: &str) -> Vec<&'a str> {
    let named = format!("{end}(");
    let starts = text.match_indices("fn ").filter(|(place, _)| {
        let name = text[place + 3..].split_inclusive('(').next().unwrap_or_default();
        name.ends_with(&named) && !name.contains('\n')
    });
    starts.map(|(place, _)| text[place..].split("\n}").next().unwrap()).collect()
}

/// What stands in quotation marks behind each such start, without the marks.
fn after(text: &str, start: &str) -> Vec<String> {
    let is_part = |sign: &char| sign.is_ascii_alphanumeric() || "-_.".contains(*sign);
    text.split(start).skip(1).map(|rest| rest.chars().take_while(is_part).collect()).collect()
}

/// A code at the start of a text.
fn literal(text: &str) -> Option<String> {
    let (word, _) = text.trim_start().strip_prefix('"')?.split_once('"')?;
    let is_code =
        word.chars().all(|sign| sign.is_ascii_lowercase() || sign.is_ascii_digit() || sign == '_');
    is_code.then(|| word.to_owned())
}

/// Where routes, parameters and answers are.
fn surface() -> Vec<PathBuf> {
    let mut files = sources(&root().join("src/api"));
    files.extend(sources(&root().join("src/server")));
    files
}

/// A file without its comments and tests.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let code = text.lines().take_while(|line| *line != "#[cfg(test)]");
    code.filter(|line| !line.trim_start().starts_with("//"))
        .fold(String::new(), |all, line| all + line + "\n")
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
