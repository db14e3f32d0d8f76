//! What the relay says of itself (`src/api/openapi.json`), as a judge of what it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use http::HeaderMap;
use pushlet::api::openapi::DOCUMENT;
use serde_json::{Map, Value};

/// Where everything is described that the relay serves.
pub const PLACE: &str = "src/api/openapi.json";

/// Headers of HTTP itself, which no answer has to name.
const OF_HTTP: &[&str] =
    &["connection", "content-length", "content-type", "date", "transfer-encoding"];
/// Says nothing about a value.
const REMARKS: &[&str] = &["default", "description", "examples", "format", "title"];

/// One method of one path.
pub struct Operation {
    pub method: String,
    pub path: String,
    pub value: &'static Value,
}

pub fn document() -> &'static Value {
    static PARSED: OnceLock<Value> = OnceLock::new();
    PARSED.get_or_init(|| serde_json::from_str(DOCUMENT).expect("openapi.json is JSON"))
}

/// All operations, in the order of their paths.
pub fn operations() -> Vec<Operation> {
    let mut operations = Vec::new();
    for (path, item) in object(&document()["paths"]) {
        for (method, value) in object(resolved(item)) {
            let (method, path) = (method.to_uppercase(), path.clone());
            operations.push(Operation { method, path, value });
        }
    }
    operations
}

/// What a `$ref` leads to, or the value itself.
pub fn resolved(value: &'static Value) -> &'static Value {
    let Some(reference) = value.get("$ref") else { return value };
    let pointer = reference.as_str().unwrap().strip_prefix('#').expect("a place in the document");
    resolved(document().pointer(pointer).unwrap_or_else(|| panic!("{pointer} leads nowhere")))
}

pub fn object(value: &'static Value) -> &'static Map<String, Value> {
    value.as_object().unwrap_or_else(|| panic!("no object: {value}"))
}

impl Operation {
    /// The responses by their status.
    pub fn responses(&self) -> BTreeMap<u16, &'static Value> {
        let responses = object(&self.value["responses"]).iter();
        responses.map(|(status, response)| (status.parse().unwrap(), resolved(response))).collect()
    }

    /// The names that its body may have, in any of its types.
    pub fn parameters(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for schema in self.bodies() {
            names.extend(object(&resolved(schema)["properties"]).keys().cloned());
        }
        names
    }

    /// The schema of each type of body.
    pub fn bodies(&self) -> Vec<&'static Value> {
        let Some(body) = self.value.get("requestBody") else { return Vec::new() };
        object(&resolved(body)["content"]).values().map(|media| &media["schema"]).collect()
    }
}

/// The codes that a response may have in its member `error`.
pub fn codes(response: &'static Value) -> Vec<&'static str> {
    let Some(schema) = response.pointer("/content/application~1json/schema") else {
        return Vec::new();
    };
    let parts = schema.get("allOf").and_then(Value::as_array).into_iter().flatten();
    parts
        .filter_map(|part| part.pointer("/properties/error/enum")?.as_array())
        .flatten()
        .map(|code| code.as_str().unwrap())
        .collect()
}

/// Every name of a member that a schema allows somewhere.
pub fn members(schema: &'static Value, names: &mut BTreeSet<String>) {
    let schema = resolved(schema);
    for (name, member) in schema.get("properties").map(object).into_iter().flatten() {
        names.insert(name.clone());
        members(member, names);
    }
    for list in ["allOf", "anyOf"] {
        for part in schema.get(list).and_then(Value::as_array).into_iter().flatten() {
            members(part, names);
        }
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(inner).filter(|inner| inner.is_object()) {
            members(inner, names);
        }
    }
}

/// Fails the test where an answer of the relay is not as the document says. What has no
/// `X-Request-Id` did not come from one of its routes.
pub fn judge(method: &str, path: &str, status: u16, headers: &HeaderMap, body: &str) {
    if !headers.contains_key("x-request-id") {
        return;
    }
    let what = format!("{method} {path} answered {status} {headers:?} {body}");
    let of_path: Vec<_> =
        operations().into_iter().filter(|operation| is_path(&operation.path, path)).collect();
    let read = if method == "HEAD" { "GET" } else { method };
    let operation = of_path.iter().find(|operation| operation.method == read);
    let components = &document()["components"]["responses"];
    let problem = match operation {
        // A route that the configuration may switch off.
        _ if status == 404 && body.contains("\"not_found\"") => {
            fits(&components["NotFound"], headers, body)
        }
        Some(operation) => answered(operation, status, headers, body),
        None if of_path.is_empty() => Err(format!("the path is not in {PLACE}; describe it there")),
        None if status != 405 => Err(format!("the method is not in {PLACE}; describe it there")),
        None => fits(&components["MethodNotAllowed"], headers, body)
            .and_then(|()| allows(&of_path, headers)),
    };
    if let Err(problem) =
        problem.or_else(|problem| if method == "HEAD" { Ok(()) } else { Err(problem) })
    {
        panic!("{problem}\n{what}");
    }
}

fn answered(
    operation: &Operation,
    status: u16,
    headers: &HeaderMap,
    body: &str,
) -> Result<(), String> {
    let responses = operation.responses();
    let Some(response) = responses.get(&status) else {
        return Err(format!("this status is not in {PLACE}; describe it there"));
    };
    let problem = match fits(response, headers, body) {
        Ok(()) => return Ok(()),
        Err(problem) => problem,
    };
    // `compat.always_200`
    let is_error = |body: &Value| body.get("error").is_some() && body.get("message").is_some();
    let spared = status == 200 && serde_json::from_str(body).is_ok_and(|body| is_error(&body));
    if spared && responses.values().any(|response| fits(response, headers, body).is_ok()) {
        return Ok(());
    }
    Err(problem)
}

/// Whether `path` is one of a template such as `/channels/{id}`.
fn is_path(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) =
        (template.split('/').collect(), path.split('/').collect());
    let same = |(template, part): (&&str, &&str)| template.starts_with('{') || template == part;
    template.len() == path.len() && template.iter().zip(&path).all(same)
}

fn allows(operations: &[Operation], headers: &HeaderMap) -> Result<(), String> {
    let allow = headers["allow"].to_str().unwrap();
    let mut allowed: BTreeSet<_> = allow.split(", ").collect();
    allowed.remove("HEAD");
    let described: BTreeSet<_> = operations.iter().map(|o| o.method.as_str()).collect();
    if allowed == described { Ok(()) } else { Err(format!("{PLACE} describes {described:?}")) }
}

/// Whether headers and body are those of a response.
fn fits(response: &'static Value, headers: &HeaderMap, body: &str) -> Result<(), String> {
    let response = resolved(response);
    let described = response.get("headers").map(object);
    let find = |name: &str| {
        let mut all = described.into_iter().flatten();
        all.find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, header)| resolved(header))
    };
    for name in headers.keys().map(http::HeaderName::as_str) {
        if !OF_HTTP.contains(&name) && find(name).is_none() {
            return Err(format!(
                "this response has no header {name} in {PLACE}; describe it there"
            ));
        }
    }
    for (name, header) in described.into_iter().flatten() {
        let is_required = resolved(header).get("required") == Some(&Value::Bool(true));
        if is_required && !headers.contains_key(name) {
            return Err(format!("{PLACE} requires the header {name}"));
        }
    }
    let Some(content) = response.get("content") else {
        return if body.is_empty() { Ok(()) } else { Err(format!("{PLACE} knows no body here")) };
    };
    let given =
        headers.get("content-type").and_then(|given| given.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default();
    let Some(media) = content.get(essence) else {
        return Err(format!("the content type {essence:?} is not in {PLACE}; describe it there"));
    };
    if essence != "application/json" {
        return Ok(());
    }
    let body = serde_json::from_str(body).map_err(|error| format!("no JSON: {error}"))?;
    matches(&media["schema"], &body, false)
        .map_err(|problem| format!("{problem}; that is what {PLACE} says, mend one of the two"))
}

/// Whether a value is as its schema says. Objects are closed here, although callers are told no
/// such thing: a member that nobody described is a mistake of ours. `is_part` is one schema of
/// several that describe the same object.
pub fn matches(schema: &'static Value, value: &Value, is_part: bool) -> Result<(), String> {
    let schema = resolved(schema);
    for (keyword, rule) in object(schema) {
        follows(keyword, rule, value)?;
    }
    let Some(members) = value.as_object() else { return Ok(()) };
    let known = properties(schema);
    let others = schema.get("additionalProperties");
    for (name, member) in members {
        match (known.get(name.as_str()), others) {
            (Some(schema), _) => {
                matches(schema, member, false).map_err(|problem| format!("{name}: {problem}"))?;
            }
            (None, Some(Value::Object(_))) => matches(others.unwrap(), member, false)?,
            (None, Some(Value::Bool(true))) => {}
            (None, _) if is_part || schema.get("anyOf").is_some() => {}
            (None, _) if known.is_empty() && others.is_none() => {}
            (None, _) => return Err(format!("there is no member {name} here")),
        }
    }
    Ok(())
}

/// The members that a schema describes itself, and by `allOf`.
fn properties(schema: &'static Value) -> BTreeMap<&'static str, &'static Value> {
    let schema = resolved(schema);
    let mut known = BTreeMap::new();
    for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        known.extend(properties(part));
    }
    let own = schema.get("properties").map(object).into_iter().flatten();
    known.extend(own.map(|(name, schema)| (name.as_str(), schema)));
    known
}

fn follows(keyword: &str, rule: &'static Value, value: &Value) -> Result<(), String> {
    let list = || rule.as_array().unwrap();
    let number = |value: &Value| value.as_f64().unwrap();
    let ok = match keyword {
        "type" if rule.is_array() => list().iter().any(|word| is_of(word, value)),
        "type" => is_of(rule, value),
        "const" => rule == value,
        "enum" => list().contains(value),
        "anyOf" => list().iter().any(|schema| matches(schema, value, false).is_ok()),
        "allOf" => return list().iter().try_for_each(|schema| matches(schema, value, true)),
        "required" => {
            let has = |name: &Value| value.get(name.as_str().unwrap()).is_some();
            !value.is_object() || list().iter().all(has)
        }
        "items" => {
            let items = value.as_array().into_iter().flatten();
            return items.into_iter().try_for_each(|item| matches(rule, item, false));
        }
        "minItems" => value.as_array().is_none_or(|items| items.len() as f64 >= number(rule)),
        "maxItems" => value.as_array().is_none_or(|items| items.len() as f64 <= number(rule)),
        "minimum" => !value.is_number() || number(value) >= number(rule),
        "maximum" => !value.is_number() || number(value) <= number(rule),
        "properties" | "additionalProperties" => true,
        remark if REMARKS.contains(&remark) => true,
        other => panic!("tests/support/openapi.rs does not know `{other}` yet; teach it"),
    };
    if ok { Ok(()) } else { Err(format!("{value} does not follow {keyword} {rule}")) }
}

fn is_of(word: &Value, value: &Value) -> bool {
    match word.as_str().unwrap() {
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "object" => value.is_object(),
        "string" => value.is_string(),
        other => panic!("there is no type {other}"),
    }
}
