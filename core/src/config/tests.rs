use alloc::vec;

use super::fields::FIELDS;
use super::*;

fn load(text: &str) -> Result<Config, Fatal> {
    Config::load(text, &mut |path| Err(format!("no file {path}")))
}

/// One CONFIG SET of words in turn name and value.
fn set(config: &mut Config, words: &[&str]) -> String {
    let pairs: Vec<(&[u8], &[u8])> = words.chunks(2).map(|p| (p[0].as_bytes(), p[1].as_bytes())).collect();
    config.set(&pairs, true).map_or_else(|refused| refused.to_string(), |()| "OK".to_owned())
}

#[test]
fn the_table_is_sound() {
    assert!(SETTINGS.is_sorted_by_key(|s| s.name));
    for s in &SETTINGS {
        let words: Vec<&str> = if s.takes_words() && !s.default.is_empty() {
            s.default.split(' ').collect()
        } else {
            vec![s.default]
        };
        let free = s.default.is_empty() && matches!(s.kind, setting::Kind::Primary);
        assert!(free || s.canonical(&words, s.default, false).as_deref() == Ok(s.default), "{}", s.name);
        assert!(s.accepts(s.default), "{}", s.name);
        let built = matches!(s.support, Support::Built);
        assert_eq!(FIELDS.contains(&s.name), built, "{}: a field exactly when it is built", s.name);
    }
    assert!(FIELDS.iter().all(|name| lookup(name).is_some()));
}

#[test]
fn every_setting_is_shown_by_its_names() {
    let config = Config::default();
    for s in &SETTINGS {
        assert_eq!(config.get(s.name).as_deref(), Some(s.default), "{}", s.name);
        assert_eq!(s.alias.and_then(|a| config.get(a)), s.alias.map(|_| s.default.to_owned()));
    }
    assert_eq!(config.get("nope"), None);
    let all = config.matching(&[b"*"]);
    assert!(all.iter().any(|(name, _)| name == "slowlog-max-len"), "aliases are listed");
    assert!(!all.iter().any(|(name, _)| name == "watchdog-period"), "hidden settings are not");
    assert_eq!(config.matching(&[b"watchdog-period"]), [("watchdog-period".to_owned(), "0".to_owned())]);
    assert_eq!(config.matching(&[b"PORT", b"por?", b"p[o]rt"]).len(), 2, "a name comes back as written");
    assert_eq!(config.matching(&[b"nope", b"nop*", b"\xff", b"\xff*"]), []);
}

#[test]
fn refusals_are_worded_as_in_valkey() {
    let failed = |name: &str, why: &str| {
        format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")
    };
    let rows: &[(&[&str], String)] = &[
        (&["nope", "1"], "ERR Unknown option or number of arguments for CONFIG SET - 'nope'".into()),
        (&["maxclients", "0"], failed("maxclients", "argument must be between 1 and 4294967295 inclusive")),
        (&["hz", "05"], failed("hz", "argument couldn't be parsed into an integer")),
        (&["timeout", "5", "TIMEOUT", "6"], failed("TIMEOUT", "duplicate parameter")),
        (&["daemonize", "yes"], failed("daemonize", "can't set immutable config")),
        (&["dir", "/"], failed("dir", "can't set protected config")),
        (
            &["appendfsync", "x"],
            failed("appendfsync", "argument(s) must be one of the following: everysec, always, no"),
        ),
        (&["lazyfree-lazy-expire", "x"], failed("lazyfree-lazy-expire", "argument must be 'yes' or 'no'")),
        (&["proto-max-bulk-len", "1x"], failed("proto-max-bulk-len", "argument must be a memory value")),
        (
            &["proto-max-bulk-len", "\0"],
            failed(
                "proto-max-bulk-len",
                "argument must be between 1048576 and 9223372036854775807 inclusive",
            ),
        ),
        (&["SLOWLOG-max-len", "x"], failed("slowlog-max-len", "argument couldn't be parsed into an integer")),
        (
            &["maxmemory-clients", "101%"],
            failed("maxmemory-clients", "percentage argument must be less or equal to 100"),
        ),
        (
            &["maxmemory-clients", "x"],
            failed("maxmemory-clients", "argument must be a memory or percent value"),
        ),
        (
            &["maxmemory-samples", "65"],
            failed("maxmemory-samples", "argument must be between 1 and 64 inclusive"),
        ),
        (&["save", "900 1"], failed("save", NOT_YET)),
        (&["port", "65536"], failed("port", "argument must be between 0 and 65535 inclusive")),
        (&["requirepass", "\u{e9}", "appendonly", "yes"], failed("appendonly", NOT_YET)),
        (&["port", "6379", "maxmemory", "0", "appendonly", "NO", "io-threads", "4"], "OK".into()),
    ];
    let mut config = Config::default();
    for (words, expected) in rows {
        assert_eq!(set(&mut config, words), *expected, "{words:?}");
    }
    assert_eq!(config.requirepass, "", "all or nothing");
    assert_eq!(config.ignored(), ["io-threads"]);
    assert_eq!(
        config.set(&[(b"requirepass", b"\xff")], true),
        Err(Refused::value("requirepass", "argument must be UTF-8"))
    );
}

#[test]
fn values_are_shown_in_one_form() {
    let rows = [
        ("repl-backlog-size", "2Mb", "2097152"),
        ("repl-backlog-size", "3k", "16384"),
        ("hz", "1000", "500"),
        ("appendfsync", "ALWAYS", "always"),
        (
            "client-output-buffer-limit",
            "pubsub 1k 2 3 replica 1gb 1mb 9",
            "normal 0 0 0 slave 1073741824 1048576 9 pubsub 1000 2 3",
        ),
        ("client-output-buffer-limit", "", "normal 0 0 0 slave 1073741824 1048576 9 pubsub 1000 2 3"),
        ("latency-tracking-info-percentiles", "50.50 1e1 0", "50.5 10 0"),
        ("shutdown-on-sigterm", "now nosave default", "nosave now"),
        ("oom-score-adj-values", "5 4 03", "5 4 3"),
        ("slot-migration-max-failover-repl-bytes", "-1", "-1"),
        ("cluster-blacklist-ttl", "10", "10"),
        ("requirepass", "a b", "a b"),
        ("maxmemory", "1gb", "1073741824"),
        ("maxmemory-clients", "5%", "5%"),
        ("maxmemory-clients", "1mb", "1048576"),
        ("maxmemory-clients", "0%", "0"),
        ("maxmemory-policy", "Volatile-LFU", "volatile-lfu"),
    ];
    let mut config = Config::default();
    for (name, value, shown) in rows {
        assert_eq!(set(&mut config, &[name, value]), "OK", "{name} {value}");
        assert_eq!(config.get(name).as_deref(), Some(shown), "{name} {value}");
    }
    assert_eq!(
        config.client_output_buffer_limit.pubsub,
        OutputLimit { hard: 1000, soft: 2, soft_seconds: 3 }
    );
    assert_eq!(config.slot_migration_max_failover_repl_bytes, -1);
}

#[test]
fn protected_settings_open_for_those_who_are_allowed() {
    let mut config = load("enable-protected-configs local").unwrap();
    let pair: &[(&[u8], &[u8])] = &[(b"dbfilename", b"x.rdb")];
    assert!(config.set(pair, false).is_err());
    assert_eq!(config.set(pair, true), Ok(()));
}

#[test]
fn files_are_read_with_quotes_comments_and_includes() {
    let text = "# a comment\n\n  PORT 7000\r\nrequirepass \"a \\\"b\\x41\"\nbind 127.0.0.1 -::1\n\
                include more.conf\nsave \"\"\nlogfile ''\nuser default on nopass ~* &* +@all\n\
                client-output-buffer-limit \"normal 1 2 3\"\nclient-output-buffer-limit replica 4 5 6";
    let config = Config::load(text, &mut |path| {
        assert_eq!(path, "more.conf");
        Ok("cluster-enabled yes\nunixsocketperm 700".to_owned())
    })
    .unwrap();
    assert_eq!((config.port, config.requirepass.as_str()), (7000, "a \"bA"));
    assert_eq!(config.bind, ["127.0.0.1", "-::1"]);
    assert_eq!((config.cluster_enabled, config.databases_in_use()), (true, 1));
    assert_eq!(config.unixsocketperm, Permissions(0o700));
    assert_eq!(config.client_output_buffer_limit.normal, OutputLimit { hard: 1, soft: 2, soft_seconds: 3 });
    assert_eq!(config.client_output_buffer_limit.replica, OutputLimit { hard: 4, soft: 5, soft_seconds: 6 });
}

#[test]
fn the_last_line_counts_also_for_what_is_not_built() {
    assert!(load("appendonly yes\nsave 900 1\nappendonly no\nsave \"\"").is_ok());
    assert!(load("maxmemory-policy allkeys-lru").is_ok());
}

#[test]
fn a_wrong_line_is_named() {
    let rows = [
        ("\nport x", 2, "argument couldn't be parsed into an integer"),
        ("port \"6379", 1, "Unbalanced quotes in configuration line"),
        ("port", 1, "wrong number of arguments"),
        ("port 1 2", 1, "wrong number of arguments"),
        ("nope 1", 1, "Bad directive or wrong number of arguments"),
        ("sentinel x", 1, "sentinel directive while not in sentinel mode"),
        (
            "client-output-buffer-limit normal 0 0",
            1,
            "Wrong number of arguments in buffer limit configuration.",
        ),
        ("replicaof a b", 1, "Invalid primary port"),
        ("dir \"\"", 1, "dir can't be empty"),
        ("appendonly yes\nport 1", 1, "'appendonly' with this value is not available in Whimbrel yet"),
        ("save 900 1\nsave 300 10", 2, "'save' with this value is not available in Whimbrel yet"),
        ("replicaof 127.0.0.1 1", 1, "'replicaof' with this value is not available in Whimbrel yet"),
        (
            "user bob +nosuch",
            1,
            "Error loading ACL rule '+nosuch' for the user named 'bob': Unknown command or category name in ACL",
        ),
        (
            "user bob on\nport 1\nuser bob off",
            3,
            "Error in user declaration 'bob': Duplicate user found. A user can only be defined once in config files",
        ),
        ("rename-command FLUSHALL \"\"", 1, "'rename-command' is not available in Whimbrel yet"),
        ("loadmodule /x.so", 1, "'loadmodule' is not available in Whimbrel yet"),
        ("json.max 1", 1, "'json.max' is not available in Whimbrel yet"),
    ];
    for (text, line, reason) in rows {
        let fatal = load(text).unwrap_err();
        assert_eq!((fatal.line.as_ref().map(|l| l.0), fatal.reason.as_str()), (Some(line), reason), "{text}");
    }
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        load("port x").unwrap_err().to_string(),
        format!(
            "\n*** FATAL CONFIG FILE ERROR (Version {version}) ***\nReading the configuration file, at line 1\n\
             >>> 'port x'\nargument couldn't be parsed into an integer"
        )
    );
    assert_eq!(load("include x").unwrap_err(), Fatal { line: None, reason: "no file x".into() });
    let mut itself = |_: &str| Ok("include x".to_owned());
    assert_eq!(Config::load("include x", &mut itself).unwrap_err().reason, "include nested too deeply");
}

#[test]
fn command_lines_become_lines_of_a_file() {
    let rows: &[(&[&str], &str)] = &[
        (&["--port", "1", "--save", "--hz", "2"], "port \"1\" \nsave \"\"\nhz \"2\" "),
        (&["--port 1", "--save"], "port 1 \nsave \"\""),
        (&["--requirepass", "--x"], "requirepass \"--x\" "),
        (&["--requirepass", "a\"\\\n\u{e9}"], "requirepass \"a\\\"\\\\\\n\\xc3\\xa9\" "),
        (&["--port", "1", "-"], "port \"1\" "),
        (&["--a", "-", "1"], "a \"-\" \"1\" "),
    ];
    for (arguments, options) in rows {
        assert_eq!(CommandLine::parse(arguments).options, *options, "{arguments:?}");
    }
    assert!(CommandLine::parse(&["-"]).stdin);
    let line = CommandLine::parse(&["--requirepass", "\u{e9}\u{1}", "--bind", "1.1.1.1", "::1"]);
    let config = load(&line.options).unwrap();
    assert_eq!((config.requirepass.as_str(), config.bind.len()), ("\u{e9}\u{1}", 2));
}

#[test]
fn rewriting_keeps_comments_and_order() {
    let old = "# mine\nport 6379\n\n\nmaxclients 10000\nslowlog-max-len 5\ntimeout 1\ntimeout 2\n\
               what is this\nuser default on nopass ~* &* +@all\nsave \"\"\ndir /tmp\n# end\n";
    let mut config = load(&old.replace("what is this\n", "")).unwrap();
    assert_eq!(set(&mut config, &["timeout", "7", "repl-backlog-size", "2mb", "requirepass", "a b"]), "OK");
    let new = config.rewrite(old);
    assert_eq!(
        new,
        "# mine\nport 6379\n\nmaxclients 10000\ncommandlog-slow-execution-max-len 5\ntimeout 7\n\n\
         # ??? what is this\nuser default on \
         #c8687a08aa5d6ed2044328fa6a697ab8e96dc34291e8c2034ae8c38e6fcc6d65 ~* &* +@all\nsave \"\"\ndir \"/tmp\"\n# end\n\
         # Generated by CONFIG REWRITE\nrepl-backlog-size 2mb\nrequirepass \"a b\"\n"
    );
    assert_eq!(load(&new).unwrap(), config, "it reads back as it was");
    assert_eq!(config.rewrite(&new), new, "and does not change again");
    let fresh = Config::default().rewrite("");
    assert_eq!(
        fresh,
        "# Generated by CONFIG REWRITE\ndir \".\"\nsave \"\"\nuser default on nopass ~* &* +@all\n"
    );
}

/// Found by the fuzzer: whatever stands in `bind` is read back, although nobody can listen there.
#[test]
fn addresses_with_quotes_survive_rewriting() {
    let mut none = |_: &str| Err("no files".into());
    for text in [
        "bind \"a'b\" c",
        "bind '\"a\\'\"'",
        "bind 'x\"y' z",
        "bind \"\\\\\"",
        "bind \"\\xc3\\xa4\" ::1",
        "bind 127.0.0.1 -::1",
    ] {
        let config = Config::load(text, &mut none).expect("a file");
        let rewritten = config.rewrite("");
        assert_eq!(Config::load(&rewritten, &mut none).expect("the rewritten file"), config, "{text}");
    }
    assert!(
        Config::load("bind 127.0.0.1 -::1", &mut none)
            .unwrap()
            .rewrite("")
            .contains("\nbind 127.0.0.1 -::1\n")
    );
}
