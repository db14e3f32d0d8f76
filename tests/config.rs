//! The configuration: what comes before what, and every mistake.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use pushlet::api::auth::Credential;
use pushlet::apps::preload::{Preload, Source};
use pushlet::config::Config;
use pushlet::providers::apns::Mode;
use pushlet::providers::fcm::message::FcmTarget;
use pushlet::providers::gcm::AccountSource;
use pushlet::secret::Secret;
use pushlet::telemetry::{Format, Level};
use tempfile::TempDir;

/// A configuration file in a folder of its own.
struct File {
    folder: TempDir,
}

impl File {
    fn new(text: &str) -> Self {
        let file = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(file.path(), text).unwrap();
        file
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("pushlet.toml")
    }

    fn load(&self, environment: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        load(Some(self), environment)
    }
}

/// The mistakes are given with `FILE` for the path of the file.
fn load(file: Option<&File>, environment: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let path = file.map(File::path);
    let variables = environment.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    Config::load(path.as_deref(), variables).map_err(|mistakes| {
        let shown = path.map(|path| path.display().to_string());
        let sentences = mistakes.all().iter();
        sentences
            .map(|text| shown.as_ref().map_or(text.clone(), |path| text.replace(path, "FILE")))
            .collect()
    })
}

fn mistakes(text: &str) -> Vec<String> {
    File::new(text).load(&[]).expect_err("the file has a mistake")
}

fn variable_mistakes(environment: &[(&str, &str)]) -> Vec<String> {
    load(None, environment).expect_err("the environment has a mistake")
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

#[test]
fn nothing_given_is_the_defaults() {
    let config = load(None, &[]).unwrap();

    assert_eq!(config, Config::default());
    assert_eq!(config.server.bind, address("127.0.0.1:9292"));
    assert_eq!(config.server.max_body_bytes, 1_048_576);
    assert_eq!(config.server.max_applications, 10_000);
    assert_eq!(config.server.max_in_flight, 20_000);
    assert_eq!(config.server.max_in_flight_per_caller, None);
    assert_eq!(config.apns.connections_per_application, 4);
    assert_eq!(config.apns.max_in_flight_per_application, 4_000);
    assert_eq!(config.apns.timeout, Duration::from_secs(10));
    assert_eq!(config.feedback.max_tokens, 100_000);
}

#[test]
fn bind_is_the_variable_then_port_then_the_file_then_loopback() {
    let file = File::new("[server]\nbind = \"127.0.0.1:1\"\n[auth]\nallow_anonymous = true");
    let variable = ("PUSHLET_SERVER__BIND", "127.0.0.1:3");

    let bound = |environment: &[_]| file.load(environment).unwrap().server.bind;

    assert_eq!(bound(&[variable, ("PORT", "2")]), address("127.0.0.1:3"));
    assert_eq!(bound(&[("PORT", "2")]), address("0.0.0.0:2"));
    assert_eq!(bound(&[]), address("127.0.0.1:1"));
    assert_eq!(load(None, &[]).unwrap().server.bind, address("127.0.0.1:9292"));
}

#[test]
fn port_is_not_looked_at_when_the_bind_variable_decides() {
    let config = load(None, &[("PORT", "http"), ("PUSHLET_SERVER__BIND", "127.0.0.1:3")]).unwrap();

    assert_eq!(config.server.bind, address("127.0.0.1:3"));
}

#[test]
fn environment_comes_before_the_file_and_the_file_before_defaults() {
    let file = File::new("[apns]\ntimeout = \"2s\"\nconnect_timeout = \"3s\"\n");

    let config = file.load(&[("PUSHLET_APNS__TIMEOUT", "1500ms")]).unwrap();

    assert_eq!(config.apns.timeout, Duration::from_millis(1500));
    assert_eq!(config.apns.connect_timeout, Duration::from_secs(3));
    assert_eq!(config.apns.idle_timeout, Config::default().apns.idle_timeout);
}

#[test]
fn pushlet_config_names_the_file_when_nobody_else_does() {
    let named = File::new("[server]\nworkers = 1");
    let given = File::new("[server]\nworkers = 2");
    let path = named.path();
    let variable = [("PUSHLET_CONFIG", path.to_str().unwrap())];

    assert_eq!(load(None, &variable).unwrap().server.workers, 1);
    assert_eq!(given.load(&variable).unwrap().server.workers, 2);
}

#[test]
fn other_variables_are_nobodys_business() {
    let environment = [
        ("PUSHLET_SHOP_P12", "MIIB"),
        ("PUSHLET_LOG", "debug"),
        ("HOME", "/root"),
        ("SERVER__BIND", "nonsense"),
    ];

    assert_eq!(load(None, &environment), Ok(Config::default()));
}

#[test]
fn switches_words_and_urls_are_read() {
    let file = File::new(
        "[log]\nformat = \"json\"\nlevel = \"debug\"\n[compat]\nalways_200 = true\n\
         ignore_unknown = true\n[gcm]\nlegacy_url = \"http://[::1]:8080/gcm/send?x=1\"\n\
         [apns]\nproduction_url = \"https://localhost:2197/\"\n",
    );

    let config = file.load(&[("PUSHLET_COMPAT__IGNORE_UNKNOWN", "false")]).unwrap();

    assert_eq!((config.log.format, config.log.level), (Format::Json, Level::Debug));
    assert_eq!((config.compat.always_200, config.compat.ignore_unknown), (true, false));
    let legacy_url = config.gcm.legacy_url.unwrap();
    assert_eq!(legacy_url.as_str(), "http://[::1]:8080/gcm/send?x=1");
    assert_eq!(config.apns.production_url.as_str(), "https://localhost:2197/");
}

#[test]
fn paths_of_the_file_start_at_its_folder_and_those_of_the_environment_here() {
    let file = File::new("[apns]\nca_file = \"certs/ca.pem\"");

    let of_file = file.load(&[]).unwrap().apns.ca_file;
    let of_environment = file.load(&[("PUSHLET_APNS__CA_FILE", "ca.pem")]).unwrap().apns.ca_file;

    assert_eq!(of_file, Some(file.folder.path().join("certs/ca.pem")));
    assert_eq!(of_environment, Some(PathBuf::from("ca.pem")));
}

#[test]
fn credentials_of_file_and_environment_are_added_up() {
    let file = File::new(
        "[[auth.credentials]]\nusername = \"a\"\npassword = \"b\"\n\
         applications = [\"shop\", \"news-*\", \"x?\", \"gcm\"]\nweight = 7\n",
    );

    let config =
        file.load(&[("PUSHLET_USERNAME", "heroku"), ("PUSHLET_PASSWORD", "p:w d")]).unwrap();

    let globs = ["shop", "news-*", "x?", "gcm"].map(str::to_owned).to_vec();
    let expected = [
        Credential {
            username: "a".into(),
            password: secret("b"),
            applications: Some(globs),
            rate_limit: None,
            rate_burst: None,
            weight: 7,
        },
        Credential {
            username: "heroku".into(),
            password: secret("p:w d"),
            applications: None,
            rate_limit: None,
            rate_burst: None,
            weight: 1,
        },
    ];
    assert_eq!(config.auth.credentials, expected);
}

#[test]
fn empty_list_of_credentials_is_none() {
    assert_eq!(File::new("[auth]\ncredentials = []").load(&[]), Ok(Config::default()));
}

#[test]
fn applications_say_where_their_credentials_are() {
    let file = File::new(
        "[[applications]]\napplication_id = \"a:B.c_1-2\"\napns_p12 = \"MIIB\"\n\
         apns_p12_pass = \"\"\napns_mode = \"sandbox\"\napns_topic = \"com.example\"\n\
         [[applications]]\napplication_id = \"b\"\napns_pem_file = \"b.pem\"\n\
         apns_pem_pass_env = \"B_PASS\"\n\
         [[applications]]\napplication_id = \"c\"\napns_p8_env = \"C_P8\"\n\
         apns_key_id = \"K\"\napns_team_id = \"T\"\n",
    );

    let config = file.load(&[]).unwrap();

    let expected = [
        Preload {
            application_id: "a:B.c_1-2".into(),
            apns_p12: Some(Source::Text(secret("MIIB"))),
            apns_p12_pass: Some(Source::Text(secret(""))),
            apns_topic: Some("com.example".into()),
            apns_mode: Mode::Development,
            ..Preload::default()
        },
        Preload {
            application_id: "b".into(),
            apns_pem: Some(Source::File(file.folder.path().join("b.pem"))),
            apns_pem_pass: Some(Source::Env("B_PASS".into())),
            ..Preload::default()
        },
        Preload {
            application_id: "c".into(),
            apns_p8: Some(Source::Env("C_P8".into())),
            apns_key_id: Some("K".into()),
            apns_team_id: Some("T".into()),
            ..Preload::default()
        },
    ];
    assert_eq!(config.applications, expected);
}

#[test]
fn file_that_is_not_there_is_named_and_the_environment_still_checked() {
    let found = variable_mistakes(&[("PUSHLET_CONFIG", "/no/such.toml"), ("PORT", "x")]);

    let expected = [
        "the configuration file `/no/such.toml` cannot be read: No such file or directory (os \
         error 2); name one that can, by `--config` or `PUSHLET_CONFIG`",
        "the environment variable `PORT` is `x`; expected a port from 0 to 65535",
    ];
    assert_eq!(found, expected);
}

#[test]
fn syntax_error_is_told_by_line_without_its_text() {
    let cases = [
        ("hunter2", "hunter2", "string values must be quoted, expected literal string"),
        ("\"hunter2", "hunter2", "invalid basic string, expected `\"`"),
        ("99999999999999999999", "999", "this value cannot be read"),
    ];
    for (password, secret, wrong) in cases {
        let found = mistakes(&format!("[auth]\n\n[[auth.credentials]]\npassword = {password}\n"));

        assert_eq!(found, [format!("line 4 of `FILE` is not TOML: {wrong}")]);
        assert!(!found.concat().contains(secret), "{found:?}");
    }
}

#[test]
fn unknown_names_are_told_with_the_nearest_known_one() {
    let found = File::new("[sever]\nbind = 1\n[server]\nbnd = 1\nzzzzzzzz = 1\n")
        .load(&[
            ("PUSHLET_APNS__TIMOUT", "1s"),
            ("PUSHLET_GCN__TIMEOUT", "1s"),
            ("PUSHLET_A__B", ""),
        ])
        .unwrap_err();

    let expected = [
        "`server.bnd` in `FILE` is not known; did you mean `bind`",
        "`server.zzzzzzzz` in `FILE` is not known; known are `bind`, `max_body_bytes`, `max_batch`, `max_batch_bytes`, `read_timeout`, `write_timeout`, \
         `max_applications`, `secret_key`, `previous_secret_keys`, `max_sealed_open`, \
         `max_in_flight`, `max_in_flight_per_caller`, `workers`, `drain_delay`, `shutdown_timeout`, `tls_cert`, `tls_key`, `trusted_proxies`",
        "the environment variable `PUSHLET_APNS__TIMOUT` is not known; did you mean \
         `PUSHLET_APNS__TIMEOUT`",
        "the environment variable `PUSHLET_A__B` is not known; known are `PUSHLET_SERVER__…`, \
         `PUSHLET_AUTH__…`, `PUSHLET_APNS__…`, `PUSHLET_FCM__…`, `PUSHLET_GCM__…`, `PUSHLET_PROXY__…`, `PUSHLET_COMPAT__…`, \
         `PUSHLET_FEEDBACK__…`, `PUSHLET_IDEMPOTENCY__…`, `PUSHLET_OPS__…`, `PUSHLET_LOG__…`",
        "the environment variable `PUSHLET_GCN__TIMEOUT` is not known; did you mean \
         `PUSHLET_GCM__…`",
        "`sever` in `FILE` is not known; did you mean `server`",
    ];
    assert_eq!(found, expected);
}

#[test]
fn values_of_every_kind_are_refused_with_what_was_expected() {
    for (case, wrong) in pairs(WRONG_VALUES) {
        let (key, _) = case.split_once(" = ").unwrap();

        assert_eq!(mistakes(case), [format!("`{key}` in `FILE` is {wrong}")]);
    }
}

#[test]
fn variables_are_held_to_the_same_rules() {
    let found = variable_mistakes(&[
        ("PUSHLET_APNS__TIMEOUT", ""),
        ("PUSHLET_COMPAT__ALWAYS_200", "yes"),
        ("PUSHLET_SERVER__WORKERS", "two"),
        ("PUSHLET_AUTH__CREDENTIALS", "me:hunter2"),
    ]);

    let expected = [
        "the environment variable `PUSHLET_SERVER__WORKERS` is `two`; expected a whole number \
         from 0 to 1024",
        "the environment variable `PUSHLET_AUTH__CREDENTIALS` is text; expected \
         `[[auth.credentials]]` in the configuration file, once or more",
        "the environment variable `PUSHLET_APNS__TIMEOUT` is empty; expected a duration from \
         \"1ms\" to \"25s\", such as \"10s\"",
        "the environment variable `PUSHLET_COMPAT__ALWAYS_200` is `yes`; expected `true` or \
         `false`",
    ];
    assert_eq!(found, expected);
}

#[test]
fn wrong_value_of_the_file_is_told_though_a_variable_replaces_it() {
    let file = File::new("[server]\nworkers = \"many\"");

    assert_eq!(
        file.load(&[("PUSHLET_SERVER__WORKERS", "2")]),
        Err(vec![
            "`server.workers` in `FILE` is `many`; expected a whole number from 0 to 1024".into()
        ])
    );
}

#[test]
fn section_that_is_no_table_is_refused() {
    assert_eq!(mistakes("server = 5"), ["`server` in `FILE` is `5`; expected a table of keys"]);
    assert_eq!(
        mistakes("[applications]\nid = 1"),
        ["`applications` in `FILE` is a table; expected `[[applications]]` in the configuration \
          file, once or more"]
    );
}

#[test]
fn open_relay_is_refused_and_the_ways_out_are_told() {
    let sentence = |bind| {
        format!(
            "anybody could call: `server.bind` is `{bind}`, which others can reach, and no \
             credential is configured; set `PUSHLET_USERNAME` and `PUSHLET_PASSWORD`, or give \
             `[[auth.credentials]]`, or listen on 127.0.0.1, or allow it with \
             `auth.allow_anonymous = true`"
        )
    };

    assert_eq!(variable_mistakes(&[("PORT", "5000")]), [sentence("0.0.0.0:5000")]);
    assert_eq!(variable_mistakes(&[("PUSHLET_SERVER__BIND", "[::]:1")]), [sentence("[::]:1")]);
}

#[test]
fn open_relay_is_told_beside_other_mistakes() {
    let found = variable_mistakes(&[("PORT", "5000"), ("PUSHLET_LOG__LEVEL", "loud")]);

    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn open_relay_is_not_told_where_the_credentials_could_not_be_read() {
    let found = File::new("auth = 5").load(&[("PORT", "5000")]);

    assert_eq!(found, Err(vec!["`auth` in `FILE` is `5`; expected a table of keys".into()]));
}

#[test]
fn relay_that_asks_or_that_nobody_reaches_may_start() {
    let port = ("PORT", "5000");
    let credential = [port, ("PUSHLET_USERNAME", "a"), ("PUSHLET_PASSWORD", "b")];
    let anonymous = [port, ("PUSHLET_AUTH__ALLOW_ANONYMOUS", "true")];

    for environment in [credential.as_slice(), anonymous.as_slice()] {
        assert_eq!(load(None, environment).unwrap().server.bind, address("0.0.0.0:5000"));
    }
    for bind in ["127.0.0.2:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        let config = load(None, &[("PUSHLET_SERVER__BIND", bind)]).unwrap();
        assert_eq!(config.server.bind, address(bind));
    }
}

#[test]
fn credential_of_the_environment_is_whole() {
    let cases: [(&[_], &[&str]); 4] = [
        (
            &[("PUSHLET_USERNAME", "a")],
            &["the environment has no `PUSHLET_PASSWORD`, which belongs to `PUSHLET_USERNAME`; \
               give both"],
        ),
        (
            &[("PUSHLET_PASSWORD", "hunter2")],
            &["the environment has no `PUSHLET_USERNAME`, which belongs to `PUSHLET_PASSWORD`; \
               give both"],
        ),
        (
            &[("PUSHLET_USERNAME", ""), ("PUSHLET_PASSWORD", "")],
            &[
                "the environment variable `PUSHLET_USERNAME` is empty; expected a user name, not \
                 empty and without `:`",
                "the environment variable `PUSHLET_PASSWORD` is empty; expected text that is not \
                 empty",
            ],
        ),
        (
            &[("PUSHLET_USERNAME", "me:hunter2"), ("PUSHLET_PASSWORD", "x")],
            &["the environment variable `PUSHLET_USERNAME` is text; expected a user name, not \
               empty and without `:`"],
        ),
    ];
    for (environment, expected) in cases {
        assert_eq!(variable_mistakes(environment), expected);
    }
}

#[test]
fn user_name_comes_up_once() {
    let entry = "[[auth.credentials]]\nusername = \"a\"\npassword = \"b\"\n";
    let file = File::new(&entry.repeat(2));

    let found = file.load(&[("PUSHLET_USERNAME", "a"), ("PUSHLET_PASSWORD", "b")]);

    let again = "has the user name of a credential before it; give each its own";
    let expected = vec![
        format!("number 2 of `[[auth.credentials]]` in `FILE` {again}"),
        format!("the environment {again}"),
    ];
    assert_eq!(found, Err(expected));
}

#[test]
fn keys_are_hexadecimal_or_base64_and_in_lists_or_with_commas() {
    let key = |byte: u8| Secret::new([byte; 32]);
    let (hex, base64) = ("2a".repeat(32), "KysrKysrKysrKysrKysrKysrKysrKysrKysrKysrKys");
    let file = File::new(&format!(
        "[server]\nsecret_key = \"{hex}\"\nprevious_secret_keys = [\"{base64}=\", \"{hex}\"]"
    ));

    let server = file.load(&[]).unwrap().server;
    assert_eq!(server.secret_key, Some(key(0x2a)));
    assert_eq!(server.previous_secret_keys, [key(0x2b), key(0x2a)]);

    let both = format!("{hex}, {base64}");
    let variables =
        [("PUSHLET_SERVER__SECRET_KEY", base64), ("PUSHLET_SERVER__PREVIOUS_SECRET_KEYS", &*both)];
    let server = file.load(&variables).unwrap().server;
    assert_eq!(server.secret_key, Some(key(0x2b)));
    assert_eq!(server.previous_secret_keys, [key(0x2a), key(0x2b)]);
    let none = file.load(&[("PUSHLET_SERVER__PREVIOUS_SECRET_KEYS", "")]).unwrap();
    assert_eq!(none.server.previous_secret_keys, []);
}

#[test]
fn wrong_keys_are_told_without_their_text() {
    let short = "2a".repeat(31);
    let long = format!("{}zz", "2a".repeat(32));

    for wrong in [&*short, &*long, "hunter2", " "] {
        assert_eq!(
            variable_mistakes(&[
                ("PUSHLET_SERVER__SECRET_KEY", wrong),
                ("PUSHLET_SERVER__PREVIOUS_SECRET_KEYS", &format!("{wrong},")),
            ]),
            [
                "the environment variable `PUSHLET_SERVER__SECRET_KEY` is text; expected 32 bytes \
                 in hexadecimal or base64, such as `openssl rand -hex 32` writes",
                "the environment variable `PUSHLET_SERVER__PREVIOUS_SECRET_KEYS` is text; expected \
                 a list of keys, each 32 bytes in hexadecimal or base64, such as `openssl rand \
                 -hex 32` writes",
            ]
        );
    }
}

#[test]
fn wrong_credentials_are_told_without_their_secrets() {
    let found = mistakes(
        "[[auth.credentials]]\n\
         [[auth.credentials]]\nusername = \"me:hunter2\"\npassword = 42\napplications = \"shop\"\n\
         [[auth.credentials]]\nusername = \"\"\npassword = \"\"\napplications = [\"a\", \"[ab]\"]\n\
         [[auth.credentials]]\nusername = \"x\"\npassword = \"y\"\npasword = \"hunter2\"\n",
    );

    let entry = |number| format!("number {number} of `[[auth.credentials]]` in `FILE`");
    let globs = "expected a list of application ids, in which `*` and `?` stand for any \
                 characters and for one";
    let username = "expected a user name, not empty and without `:`";
    let expected = [
        format!("{} has no `username`, which belongs to `password`; give both", entry(1)),
        format!("{} has no `password`, which belongs to `username`; give both", entry(1)),
        format!("`username` in {} is text; {username}", entry(2)),
        format!("`password` in {} is a number; expected text that is not empty", entry(2)),
        format!("`applications` in {} is `shop`; {globs}", entry(2)),
        format!("`username` in {} is empty; {username}", entry(3)),
        format!("`password` in {} is empty; expected text that is not empty", entry(3)),
        format!("`applications` in {} has the entry `[ab]`; {globs}", entry(3)),
        format!("`pasword` in {} is not known; did you mean `password`", entry(4)),
    ];
    assert_eq!(found, expected);
}

#[test]
fn bridged_keys_are_kept_as_their_hash() {
    let hash = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let file = File::new(&format!(
        "[gcm]\ndrop_in_routes = true\n\
         [[gcm.bridge]]\napi_key = \"hello\"\nservice_account = \"a.json\"\n\
         [[gcm.bridge]]\napi_key_sha256 = \"{}\"\nfcm_target = \"auto\"\n\
         service_account = \" {{\\\"type\\\":1}}\"\n",
        "AB".repeat(32)
    ));

    let config = file.load(&[]).unwrap();

    assert!(config.gcm.drop_in_routes);
    let [first, second] = &config.gcm.bridge[..] else { panic!("{:?}", config.gcm) };
    let hex: String = first.api_key.0.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, hash);
    let path = file.folder.path().join("a.json");
    assert_eq!(first.service_account, AccountSource::File(path));
    assert_eq!(first.fcm_target, FcmTarget::Token);
    assert_eq!((second.api_key.0, second.fcm_target), ([0xab; 32], FcmTarget::Auto));
    let text = secret(" {\"type\":1}");
    assert_eq!(second.service_account, AccountSource::Text(text));
    assert!(!format!("{config:?}").contains("hello"), "kept as its hash");
}

#[test]
fn wrong_bridges_are_told_without_their_secrets() {
    let found = mistakes(
        "[[gcm.bridge]]\n\
         [[gcm.bridge]]\napi_key = \"\"\nservice_account = 5\n\
         [[gcm.bridge]]\napi_key = \"a\"\napi_key_sha256 = \"hunter2\"\n\
         service_account = \"x\"\nfcm_target = \"both\"\n\
         [[gcm.bridge]]\napi_key = \"k\"\nservice_account = \"x\"\n\
         [[gcm.bridge]]\napi_key = \"k\"\nservice_account = \"y\"\nproject = \"z\"\n",
    );

    let entry = |number| format!("number {number} of `[[gcm.bridge]]` in `FILE`");
    let targets = "expected one of \"token\", \"fid\", \"auto\"";
    let known = "known are `api_key`, `api_key_sha256`, `service_account`, `fcm_target`";
    let expected = [
        format!("{} has no `api_key` and no `api_key_sha256`; give one of them", entry(1)),
        format!("{} has no `service_account`; give the path of one, or the JSON itself", entry(1)),
        format!("`api_key` in {} is empty; expected text that is not empty", entry(2)),
        format!(
            "`service_account` in {} is a number; expected the path of a file, or the JSON itself",
            entry(2)
        ),
        format!("{} has `api_key` and `api_key_sha256`; keep one of them", entry(3)),
        format!("`api_key_sha256` in {} is text; expected 64 hexadecimal digits", entry(3)),
        format!("`fcm_target` in {} is `both`; {targets}", entry(3)),
        format!("{} has the key of an entry before it; give each its own", entry(5)),
        format!("`project` in {} is not known; {known}", entry(5)),
    ];
    assert_eq!(found, expected);
}

#[test]
fn wrong_applications_are_told_by_their_number() {
    let place = "number 1 of `[[applications]]` in `FILE`";
    for (case, wrong) in pairs(WRONG_APPLICATIONS) {
        let found = mistakes(&format!("applications = [{{ {case} }}]"));

        assert_eq!(found, [wrong.replace("ENTRY", place)], "{case}");
    }
}

#[test]
fn application_id_has_at_most_128_characters() {
    let text =
        |id: &str| format!("[[applications]]\napplication_id = \"{id}\"\napns_p12 = \"x\"\n");

    assert!(File::new(&text(&"x".repeat(128))).load(&[]).is_ok());
    assert_eq!(
        mistakes(&text(&"x".repeat(129))),
        [format!(
            "`application_id` in number 1 of `[[applications]]` in `FILE` is `{}…`; expected 1 to \
             128 letters, digits, `.`, `_`, `-` and `:`",
            "x".repeat(60)
        )]
    );
}

#[test]
fn application_comes_up_once() {
    let entry = "[[applications]]\napplication_id = \"shop\"\napns_p12 = \"x\"\n";

    assert_eq!(
        mistakes(&entry.repeat(2)),
        ["number 2 of `[[applications]]` in `FILE` has the `application_id` `shop` again; give \
          each its own"]
    );
}

#[test]
fn credentials_are_not_opened() {
    let file = File::new(
        "[[applications]]\napplication_id = \"a\"\napns_p12_file = \"/no/such.p12\"\n\
         [[applications]]\napplication_id = \"b\"\napns_pem_env = \"PUSHLET_NO_SUCH\"\n\
         [[applications]]\napplication_id = \"c\"\napns_p12 = \"not base64!\"\n",
    );

    assert_eq!(file.load(&[]).unwrap().applications.len(), 3);
}

#[test]
fn all_mistakes_come_at_once_one_a_line() {
    let file = File::new("[server]\nbind = 1\n[log]\nlevel = 2\n[\"x\\n\"]\n");
    let variables = [("PUSHLET_GCM__TIMEOUT".to_owned(), "soon".to_owned())];

    let mistakes = Config::load(Some(&file.path()), variables.into_iter()).unwrap_err();

    assert_eq!(mistakes.all().len(), 4, "{mistakes}");
    assert_eq!(mistakes.to_string().lines().count(), 4, "{mistakes}");
}

#[test]
fn debug_of_a_configuration_holds_no_secret() {
    let file = File::new(
        "[[auth.credentials]]\nusername = \"a\"\npassword = \"hunter2\"\n\
         [[applications]]\napplication_id = \"a\"\napns_p12 = \"hunter2\"\n\
         apns_p12_pass = \"hunter2\"\n",
    );

    let config = file.load(&[]).unwrap();

    assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
}

/// The lines of a table, two by two: a case and what is wrong with it.
fn pairs(table: &str) -> Vec<(&str, &str)> {
    let lines: Vec<_> = table.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.chunks(2).map(|pair| (pair[0], pair[1])).collect()
}

const WRONG_VALUES: &str = r#"
    server.bind = "localhost"
        `localhost`; expected an address with a port, such as "127.0.0.1:9292"
    server.bind = 9292
        `9292`; expected an address with a port, such as "127.0.0.1:9292"
    server.max_body_bytes = 1023
        `1023`; expected a whole number from 1024 to 67108864
    server.max_body_bytes = 67108865
        `67108865`; expected a whole number from 1024 to 67108864
    server.max_applications = 0
        `0`; expected a whole number from 1 to 1000000
    server.max_in_flight = -1
        `-1`; expected a whole number from 1 to 1000000
    server.workers = 1025
        `1025`; expected a whole number from 0 to 1024
    server.shutdown_timeout = 10
        `10`; expected a duration from "0s" to "10m", such as "10s"
    auth.allow_anonymous = "true"
        `true`; expected `true` or `false`
    auth.credentials = "me:hunter2"
        text; expected `[[auth.credentials]]` in the configuration file, once or more
    apns.production_url = "http://example.com"
        text; expected an https address of host and perhaps port, such as "https://example.com:443"
    apns.production_url = "https://me:hunter2@example.com"
        text; expected an https address of host and perhaps port, such as "https://example.com:443"
    apns.sandbox_url = "https://example.com/3/device"
        text; expected an https address of host and perhaps port, such as "https://example.com:443"
    apns.sandbox_url = "https://example.com?x"
        text; expected an https address of host and perhaps port, such as "https://example.com:443"
    apns.ca_file = ""
        empty; expected the path of a file
    apns.ca_file = ["a"]
        a list; expected the path of a file
    apns.timeout = "26s"
        `26s`; expected a duration from "1ms" to "25s", such as "10s"
    apns.timeout = "0s"
        `0s`; expected a duration from "1ms" to "25s", such as "10s"
    apns.connect_timeout = "1 s"
        `1 s`; expected a duration from "1ms" to "25s", such as "10s"
    apns.connections_per_application = 0
        `0`; expected a whole number from 1 to 64
    apns.connections_per_application = 65
        `65`; expected a whole number from 1 to 64
    apns.max_in_flight_per_application = 1.5
        `1.5`; expected a whole number from 1 to 1000000
    apns.keepalive_interval = "2h"
        `2h`; expected a duration from "100ms" to "1h", such as "10s"
    apns.keepalive_timeout = true
        `true`; expected a duration from "1ms" to "25s", such as "10s"
    apns.idle_timeout = "25h"
        `25h`; expected a duration from "100ms" to "24h", such as "10s"
    gcm.legacy_url = "http://example.com/gcm"
        text; expected an https address (http on loopback) without user name, password, fragment
    gcm.legacy_url = "https://example.com/#x"
        text; expected an https address (http on loopback) without user name, password, fragment
    gcm.legacy_url = "https://me@example.com/"
        text; expected an https address (http on loopback) without user name, password, fragment
    fcm.url = "http://fcm.googleapis.com"
        text; expected an https address (http on loopback) without user name, password, fragment
    fcm.url = "https://fcm.googleapis.com/?a=b"
        text; expected an address without a query
    fcm.timeout = "26s"
        `26s`; expected a duration from "1ms" to "25s", such as "10s"
    gcm.drop_in_routes = 1
        `1`; expected `true` or `false`
    gcm.bridge = "x"
        text; expected `[[gcm.bridge]]` in the configuration file, once or more
    gcm.timeout = "1m"
        `1m`; expected a duration from "1ms" to "25s", such as "10s"
    compat.always_200 = 1
        `1`; expected `true` or `false`
    compat.ignore_unknown = "no"
        `no`; expected `true` or `false`
    feedback.max_tokens = 10000001
        `10000001`; expected a whole number from 0 to 10000000
    log.format = "xml"
        `xml`; expected one of "text", "json"
    log.level = "Info"
        `Info`; expected one of "error", "warn", "info", "debug", "trace"
"#;

const WRONG_APPLICATIONS: &str = r#"
    apns_p12 = "x"
        ENTRY has no `application_id`; give it one
    application_id = "", apns_p12 = "x"
        `application_id` in ENTRY is empty; expected 1 to 128 letters, digits, `.`, `_`, `-` and `:`
    application_id = "a b", apns_p12 = "x"
        `application_id` in ENTRY is `a b`; expected 1 to 128 letters, digits, `.`, `_`, `-` and `:`
    application_id = "a"
        ENTRY has no credential; give `apns_p12`, `apns_pem`, `apns_p8` or `fcm_service_account`, or one with `_file` or `_env`
    application_id = "a", apns_p12 = "x", apns_pem_env = "X"
        ENTRY has `apns_p12` and `apns_pem`; keep one of them
    application_id = "a", apns_p12 = "x", apns_p12_file = "x"
        ENTRY has `apns_p12` and `apns_p12_file`; keep one of them
    application_id = "a", apns_p12 = "x", apns_p12_pass = "x", apns_p12_pass_env = "X"
        ENTRY has `apns_p12_pass` and `apns_p12_pass_env`; keep one of them
    application_id = "a", apns_pem = "x", apns_p12_pass = "x"
        ENTRY has `apns_p12_pass` without `apns_p12`; give both or none
    application_id = "a", apns_p12 = "x", apns_pem_pass = "x"
        ENTRY has `apns_pem_pass` without `apns_pem`; give both or none
    application_id = "a", apns_p8 = "x", apns_team_id = "T"
        ENTRY has `apns_p8` without `apns_key_id`; give both or none
    application_id = "a", apns_p8 = "x", apns_key_id = "K"
        ENTRY has `apns_p8` without `apns_team_id`; give both or none
    application_id = "a", apns_p12 = "x", apns_key_id = "K"
        ENTRY has `apns_key_id` without `apns_p8`; give both or none
    application_id = "a", apns_p12 = "x", apns_team_id = "T"
        ENTRY has `apns_team_id` without `apns_p8`; give both or none
    application_id = "a", fcm_service_account = "{}", fcm_service_account_env = "X"
        ENTRY has `fcm_service_account` and `fcm_service_account_env`; keep one of them
    application_id = "a", fcm_service_account = "{}", apns_p12_pass = "x"
        ENTRY has `apns_p12_pass` without `apns_p12`; give both or none
    application_id = "a", apns_p12 = ""
        `apns_p12` in ENTRY is empty; expected text that is not empty
    application_id = "a", apns_p12_file = 5
        `apns_p12_file` in ENTRY is `5`; expected the path of a file
    application_id = "a", apns_p12_env = "A=B"
        `apns_p12_env` in ENTRY is text; expected the name of an environment variable
    application_id = "a", apns_p12 = "x", apns_p12_pass = 5
        `apns_p12_pass` in ENTRY is a number; expected text
    application_id = "a", apns_p12 = "x", apns_topic = ""
        `apns_topic` in ENTRY is empty; expected text that is not empty
    application_id = "a", apns_p12 = "x", apns_mode = "prod"
        `apns_mode` in ENTRY is `prod`; expected one of "auto", "production", "development", "sandbox"
    application_id = "a", apns_p12 = "x", apns_mod = "x"
        `apns_mod` in ENTRY is not known; did you mean `apns_mode`
"#;

/// A report that is not signed could be anybody's.
#[test]
fn a_webhook_needs_a_secret_and_a_secret_a_webhook() {
    assert_eq!(
        mistakes("[feedback]\nwebhook_url = \"https://hooks.example.com\""),
        ["`feedback.webhook_url` stands without `feedback.webhook_secret`; give both or none"]
    );
    assert_eq!(
        mistakes("[feedback]\nwebhook_secret = \"a long one\""),
        ["`feedback.webhook_secret` stands without `feedback.webhook_url`; give both or none"]
    );
}

#[test]
fn hosts_of_webhooks_are_hosts() {
    let of_example = File::new("[feedback]\nwebhook_hosts = [\"*.example.com\", \"[::1]:8080\"]");
    let wrong = mistakes("[feedback]\nwebhook_hosts = [\"https://example.com\"]");

    let hosts = of_example.load(&[]).unwrap().feedback.webhook_hosts;
    assert_eq!(hosts, ["*.example.com", "[::1]:8080"]);
    assert_eq!(
        wrong,
        ["`feedback.webhook_hosts` in `FILE` has the entry `https://example.com`; expected \
          a list of hosts, such as \"hooks.example.com\", in which `*` and `?` stand for any \
          characters and for one"]
    );
}
