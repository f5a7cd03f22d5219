//! Reading values: numbers with units, and the settings whose value has several parts.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

/// Most addresses of `bind` (Valkey's CONFIG_BINDADDR_MAX).
const BIND_MAX: usize = 16;
/// A host name has fewer bytes than this (Valkey's NET_HOST_STR_LEN).
const HOST_LEN: usize = 256;
/// An address has fewer bytes than this (Valkey's NET_IP_STR_LEN).
const ADDRESS_LEN: usize = 46;

/// A decimal integer of 64 bits as Valkey reads them: no plus sign, blanks or leading zeros.
pub(super) fn integer(text: &str) -> Option<i128> {
    let n: i64 = text.parse().ok()?;
    // The only text of a number is the one it would be printed as.
    (n.to_string() == text).then_some(i128::from(n))
}

/// Digits and a unit: `k`, `m`, `g` are powers of 1000, `kb`, `mb`, `gb` of 1024. No digits at all mean 0, as in
/// Valkey.
pub(crate) fn memory(text: &str) -> Option<u64> {
    // Valkey reads it up to the first NUL.
    let text = text.split('\0').next().unwrap_or_default();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let times: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    if digits.is_empty() {
        return Some(0);
    }
    digits.parse::<u64>().ok()?.checked_mul(times)
}

/// `n%`, not negative.
pub(super) fn percent(text: &str) -> Option<i128> {
    integer(text.strip_suffix('%')?).filter(|&n| n >= 0)
}

/// An octal number; a sign is read, and refused later by the range.
pub(super) fn octal(text: &str) -> Option<i128> {
    let text = text.split('\0').next().unwrap_or_default();
    i64::from_str_radix(if text.is_empty() { "0" } else { text }, 8).ok().map(i128::from)
}

/// Whether a text may stand in a field of nodes.conf and of the bus.
fn plain(text: &str) -> bool {
    !text.chars().any(|c| c.is_ascii_control() || " !\"#$%&'()*+,;<=>?@[\\]^{|}~".contains(c))
}

/// The rules that some texts have to follow.
pub(super) fn check_text(name: &str, text: &str) -> Result<(), String> {
    let host = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let wrong = match name {
        "cluster-announce-hostname" if text.len() >= HOST_LEN => "Hostnames must be less than 256 characters",
        "cluster-announce-hostname" if !text.chars().all(host) => {
            "Hostnames may only contain alphanumeric characters, hyphens or dots"
        }
        "cluster-announce-ip" if text.len() >= ADDRESS_LEN => "cluster-announce-ip is too long",
        "cluster-announce-ip" if !plain(text) => "cluster-announce-ip contains invalid character",
        "cluster-announce-human-nodename" if !plain(text) => {
            "Announced human node name contained invalid character"
        }
        "cluster-announce-client-ipv4" if !text.is_empty() && text.parse::<Ipv4Addr>().is_err() => {
            "Invalid IPv4 address"
        }
        "cluster-announce-client-ipv6" if !text.is_empty() && text.parse::<Ipv6Addr>().is_err() => {
            "Invalid IPv6 address"
        }
        "cluster-config-file" if text.is_empty() => "cluster-config-file can't be empty",
        _ => return Ok(()),
    };
    Err(wrong.to_owned())
}

/// A single empty word means none.
fn given<'a, 'b>(words: &'a [&'b str]) -> &'a [&'b str] {
    if words == [""] { &[] } else { words }
}

pub(super) fn bind(words: &[&str]) -> Result<String, String> {
    // A word may hold several.
    let addresses: Vec<&str> = words.iter().flat_map(|word| word.split_whitespace()).collect();
    if addresses.len().max(words.len()) > BIND_MAX {
        return Err("Too many bind addresses specified.".to_owned());
    }
    Ok(addresses.join(" "))
}

/// Rules in groups of four words replace those of their class in `old`.
pub(super) fn output_limits(words: &[&str], old: &str) -> Result<String, String> {
    let words = given(words);
    if !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".to_owned());
    }
    let mut limits: Vec<String> = old.split_whitespace().map(ToOwned::to_owned).collect();
    for rule in words.chunks_exact(4) {
        let at = match rule[0].to_ascii_lowercase().as_str() {
            "normal" => 0,
            "slave" | "replica" => 4,
            "pubsub" => 8,
            _ => return Err("Invalid client class specified in buffer limit configuration.".to_owned()),
        };
        let seconds = rule[3].parse::<i64>().ok().filter(|&s| s >= 0);
        let (Some(hard), Some(soft), Some(seconds)) = (memory(rule[1]), memory(rule[2]), seconds) else {
            return Err(
                "Error in hard, soft or soft_seconds setting in buffer limit configuration.".to_owned()
            );
        };
        limits[at + 1] = hard.to_string();
        limits[at + 2] = soft.to_string();
        limits[at + 3] = seconds.to_string();
    }
    Ok(limits.join(" "))
}

pub(super) fn percentiles(words: &[&str]) -> Result<String, String> {
    let mut shown = Vec::new();
    for word in given(words) {
        let n: f64 =
            word.parse().map_err(|_| "Invalid latency-tracking-info-percentiles parameters".to_owned())?;
        if !(0.0..=100.0).contains(&n) {
            return Err(
                "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".to_owned()
            );
        }
        let text = format!("{n:.6}");
        shown.push(text.trim_end_matches('0').trim_end_matches('.').to_owned());
    }
    Ok(shown.join(" "))
}

/// The letters of keyspace events in the order CONFIG GET shows them.
pub(super) fn events(text: &str) -> Result<String, String> {
    /// What `A` stands for.
    const ALL: &str = "g$lshzxetd";
    let known = |c: char| "AKEmn".contains(c) || ALL.contains(c);
    if !text.chars().all(known) {
        return Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".to_owned());
    }
    let all = text.contains('A') || ALL.chars().all(|c| text.contains(c));
    // New keys are part of what `A` hides, though not of what it stands for.
    let (first, rest) = if all { ("A", "KEm") } else { ("", "g$lshzxetdnKEm") };
    Ok(first.chars().chain(rest.chars().filter(|&c| text.contains(c))).collect())
}

pub(super) fn oom_scores(words: &[&str]) -> Result<String, String> {
    if words.len() != 3 {
        return Err("wrong number of arguments".to_owned());
    }
    if !words.iter().all(|w| w.parse::<i32>().is_ok_and(|n| (-2000..=2000).contains(&n))) {
        return Err("Invalid oom-score-adj-values, elements must be between -2000 and 2000.".to_owned());
    }
    let shown: Vec<String> =
        words.iter().filter_map(|w| w.parse::<i32>().ok()).map(|n| n.to_string()).collect();
    Ok(shown.join(" "))
}

pub(super) fn primary(words: &[&str]) -> Result<String, String> {
    let [host, port] = words else { return Err("wrong number of arguments".to_owned()) };
    if host.eq_ignore_ascii_case("no") && port.eq_ignore_ascii_case("one") {
        return Ok(String::new());
    }
    let port: u16 = port.parse().map_err(|_| "Invalid primary port".to_owned())?;
    Ok(format!("{host} {port}"))
}

/// Rules are added to `old`; a single empty word forgets them all.
pub(super) fn save_rules(words: &[&str], old: &str) -> Result<String, String> {
    if words == [""] {
        return Ok(String::new());
    }
    let invalid = || "Invalid save parameters".to_owned();
    if !words.len().is_multiple_of(2) {
        return Err(invalid());
    }
    let mut rules: Vec<String> = old.split_whitespace().map(ToOwned::to_owned).collect();
    for pair in words.chunks_exact(2) {
        let seconds = pair[0].parse::<i64>().ok().filter(|&s| s >= 1).ok_or_else(invalid)?;
        let changes = pair[1].parse::<i64>().ok().filter(|&c| c >= 0).ok_or_else(invalid)?;
        rules.push(format!("{seconds} {changes}"));
    }
    Ok(rules.join(" "))
}
