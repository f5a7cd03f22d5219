//! Configuration: any file and any CONFIG SET after it, written back and read again.

use whimbrel_core::config::Config;

/// The file, then for each CONFIG SET names and values, all separated by zero bytes; an empty name ends a CONFIG SET.
pub(crate) fn holds(input: &[u8]) {
    let mut parts = input.split(|b| *b == 0);
    let file = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let mut config = match load(&file) {
        Ok(config) => config,
        Err(fatal) => {
            if let Some((line, text)) = &fatal.line {
                assert!(*line >= 1 && !fatal.reason.is_empty(), "{text}");
            }
            Config::default()
        }
    };
    let fatal = load(&file).is_err();
    let file = if fatal { String::new() } else { file };
    check(&config, &file);
    let mut pairs: Vec<(&[u8], &[u8])> = Vec::new();
    while let Some(name) = parts.next() {
        if name.is_empty() {
            set(&mut config, &pairs);
            pairs.clear();
        } else {
            pairs.push((name, parts.next().unwrap_or_default()));
        }
    }
    set(&mut config, &pairs);
    check(&config, &file);
}

fn load(text: &str) -> Result<Config, whimbrel_core::config::Fatal> {
    Config::load(text, &mut |path| {
        if path == "a" { Ok("hz 20\ninclude a".to_owned()) } else { Err("no file".to_owned()) }
    })
}

/// All or nothing, and what is shown can be set.
fn set(config: &mut Config, pairs: &[(&[u8], &[u8])]) {
    for local in [false, true] {
        let before = config.clone();
        match config.set(pairs, local) {
            Ok(()) => {
                for (name, _) in pairs {
                    let name = String::from_utf8_lossy(name).into_owned();
                    let shown = config.get(&name).expect("what was set is known");
                    config.set(&[(name.as_bytes(), shown.as_bytes())], local).unwrap_or_else(|why| {
                        panic!("{name} is shown as {shown:?}, which is refused: {why}");
                    });
                    assert_eq!(config.get(&name), Some(shown), "{name} changes when it is set to what it is");
                }
            }
            Err(why) => {
                assert!(!why.to_string().is_empty());
                assert!(before == *config, "refused, and changed all the same");
            }
        }
    }
}

/// What is rewritten is what is in force, whatever the file was.
fn check(config: &Config, file: &str) {
    for old in [file, ""] {
        // The file may include others, which say their part again.
        if old.to_ascii_lowercase().contains("include") || old.to_ascii_lowercase().contains("inc\\x") {
            continue;
        }
        let text = config.rewrite(old);
        let again = load(&text).unwrap_or_else(|fatal| panic!("{fatal}\n---\n{text}"));
        assert!(*config == again, "written back and read:\n{text}\n{config:?}\n{again:?}");
        assert_eq!(text, again.rewrite(&text), "a second rewrite changes the file");
    }
}
