//! Redacts addresses of servers. Every address that is logged or printed passes here.
//!
//! A password may contain any character, perhaps not escaped, and its end is unknown then. So an address that
//! cannot be parsed with certainty is not shown at all.

/// The schemes of the servers that this system connects to. Any other text in the place of a scheme may be a
/// password.
const SCHEMES: [&str; 12] = [
    "nats",
    "tls",
    "ws",
    "wss",
    "http",
    "https",
    "redis",
    "rediss",
    "valkey",
    "valkeys",
    "redis+unix",
    "unix",
];

/// Paths without a secret, besides the number of a Redis database. Any other may contain a token.
const KNOWN_PATHS: [&str; 3] = ["", "/", "/v1/traces"];

/// The schemes in which a path is the number of a database.
const DATABASE_SCHEMES: [&str; 4] = ["redis", "rediss", "valkey", "valkeys"];

/// The replacement for an address that cannot be shown.
pub const NOT_SHOWN: &str = "an address that is not shown, since it may hold a password";

/// How to write an address that cannot be parsed.
pub const ADVICE: &str = "in a user, password or token, percent-encode whatever is neither a letter nor a \
                          digit: %40 for @, %2F for /, %3A for :, %23 for #, %3F for ?, %2C for a comma";

/// `scheme://host:port`, with `***@` in place of user and password, and without query. `None` if `url` cannot
/// be parsed with certainty.
#[must_use]
pub fn try_redact(url: &str) -> Option<String> {
    let url = url.trim();
    match url.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => {
            let rest = if scheme.ends_with("unix") {
                redact_socket(rest)?
            } else {
                redact_rest(scheme, rest)?
            };
            Some(format!("{scheme}://{rest}"))
        }
        Some(_) => None,
        None => redact_rest("", url),
    }
}

/// As [`try_redact`], for several addresses separated by commas.
#[must_use]
pub fn try_redact_list(urls: &str) -> Option<String> {
    let items: Vec<_> = urls.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
    if items.windows(2).any(|pair| may_split_secret(pair[0], pair[1])) {
        return None;
    }
    let shown = items.into_iter().map(try_redact).collect::<Option<Vec<_>>>()?;
    Some(shown.join(",")).filter(|shown| !shown.is_empty())
}

/// Whether the comma between two items of a list may be part of a secret: of a password, if a login follows
/// without a scheme, or of a path or query, if anything follows without a scheme.
fn may_split_secret(before: &str, after: &str) -> bool {
    let rest = before.split_once("://").map_or(before, |(_, rest)| rest);
    let is_open = rest.contains(['/', '\\', '?', '#']);
    !after.contains("://") && (after.contains('@') || is_open)
}

/// The address as [`try_redact`] shows it, or [`NOT_SHOWN`].
#[must_use]
pub fn redact(url: &str) -> String {
    try_redact(url).unwrap_or_else(|| NOT_SHOWN.to_owned())
}

/// The addresses as [`try_redact_list`] shows them, or [`NOT_SHOWN`].
#[must_use]
pub fn redact_list(urls: &str) -> String {
    try_redact_list(urls).unwrap_or_else(|| NOT_SHOWN.to_owned())
}

/// Whether a value must not be repeated in an error: it may be an address with a login, or a key in place of
/// its file.
#[must_use]
pub fn may_hold_a_secret(value: &str) -> bool {
    value.contains('@') || value.contains("-----BEGIN")
}

fn is_scheme(text: &str) -> bool {
    SCHEMES.iter().any(|scheme| text.eq_ignore_ascii_case(scheme))
}

/// The part after the scheme: `[user[:password]@]host[:port][/path][?query][#fragment]`.
fn redact_rest(scheme: &str, rest: &str) -> Option<String> {
    let (authority, after) = rest.split_at(rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len()));
    // Most likely the authority has ended within a login.
    if after.contains('@') {
        return None;
    }
    let (login, host) = match authority.rsplit_once('@') {
        Some((_, host)) => ("***@", host),
        None => ("", authority),
    };
    let (path, rest) = after.split_at(after.find(['?', '#']).unwrap_or(after.len()));
    let is_database = DATABASE_SCHEMES.contains(&scheme) && is_number(path);
    let is_known = is_database || KNOWN_PATHS.contains(&path);
    let path = if is_known { path } else { "/***" };
    let query = if rest.is_empty() { "" } else { "?***" };
    is_host(host).then(|| format!("{login}{host}{path}{query}"))
}

/// The part after the scheme of a Unix socket: its path, and a query with user and password.
fn redact_socket(rest: &str) -> Option<String> {
    let (path, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    let query = if query.is_empty() { "" } else { "?***" };
    (path.starts_with('/') && !path.contains('@')).then(|| format!("{path}{query}"))
}

/// Whether this is the path of a numbered database.
fn is_number(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) if host.parse::<std::net::Ipv6Addr>().is_ok() => ("v6", port),
            _ => return false,
        },
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let is_name = |c: char| c.is_alphanumeric() || "-._".contains(c);
    let is_port =
        port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.parse::<u16>().is_ok());
    !host.is_empty() && host.chars().all(is_name) && is_port
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        let cases = [
            ("nats://127.0.0.1:4222", Some("nats://127.0.0.1:4222")),
            ("nats://api:s3cret@host:4222", Some("nats://***@host:4222")),
            ("nats://token@host", Some("nats://***@host")),
            ("nats://u:p@ss@host", Some("nats://***@host")),
            ("nats://[::1]:4222", Some("nats://[::1]:4222")),
            ("host:4222", Some("host:4222")),
            ("api:s3cret@host:4222", Some("***@host:4222")),
            ("redis://:p@ss@redis_1/0", Some("redis://***@redis_1/0")),
            ("rediss://host/0#insecure", Some("rediss://host/0?***")),
            ("unix:///run/redis.sock?pass=s3@cret", Some("unix:///run/redis.sock?***")),
            ("http://host:4318/v1/traces", Some("http://host:4318/v1/traces")),
            ("http://host/s3cret/v1/traces?key=s3cret", Some("http://host/***?***")),
            // Nobody can tell where the password ends.
            ("nats://u:p@S3/cret@host", None),
            ("nats://u:p@S3#cret@host", None),
            ("nats://u:p@S3?cret@host", None),
            ("nats://u:p@S3\\cret@host", None),
            ("redis://:pa/ss?w#rd@host/0", None),
            ("redis://:s3cret", None),
            ("a:s3cret://x@host", None),
            ("s3cret://x@host", None),
            ("unix://u:s3@cret/run", None),
            ("nats://", None),
            ("nats://u:s3cret@", None),
            ("", None),
        ];
        for (url, expected) in cases {
            assert_eq!(try_redact(url).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn a_list_is_shown_or_none_of_it() {
        let cases = [
            ("nats://a:b@one, two:4333,", Some("nats://***@one,two:4333")),
            ("nats://a:b@one,tls://c:d@two", Some("nats://***@one,tls://***@two")),
            ("a:b@one", Some("***@one")),
            ("nats://a:s3,cret@one,tls://b:c@two", None),
            ("nats://a:12345,cret@one", None),
            ("nats://one/,nats://two/", Some("nats://one/,nats://two/")),
            ("nats://one/s3,cret", None),
            ("nats://a:p@S3cret,x@one", None),
            (" , ", None),
        ];
        for (urls, expected) in cases {
            assert_eq!(try_redact_list(urls).as_deref(), expected, "{urls}");
        }
    }

    /// Every character with a meaning in an address, others that are common in passwords, and letters that no
    /// host below has.
    const ALPHABET: [char; 34] = [
        ':', '/', '?', '#', '[', ']', '@', '!', '$', '&', '\'', '(', ')', '*', '+', ',', ';', '=',
        '%', '\\', ' ', '\t', '"', '<', '>', '^', '`', '{', '|', '}', 'X', 'Q', '7', '8',
    ];

    /// The next of a fixed sequence of numbers that look random (Knuth, MMIX).
    fn next(state: &mut u64) -> usize {
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as usize
    }

    #[test]
    fn no_three_characters_of_a_password_are_ever_shown() {
        let mut state = 17;
        for _ in 0..5_000 {
            let length = 3 + next(&mut state) % 12;
            let password: String =
                (0..length).map(|_| ALPHABET[next(&mut state) % ALPHABET.len()]).collect();
            let urls = [
                format!("nats://u:{password}@host:4222"),
                format!("nats://{password}@host"),
                format!("{password}@host"),
                format!("nats://u:{password}@host,nats://other:4333"),
                format!("redis://:{password}@host/0"),
                format!("http://{password}@host/v1/traces"),
                format!("http://host/{password}"),
                format!("http://host/v1?key={password}"),
                format!("unix:///run/redis.sock?pass={password}"),
            ];
            let pieces: Vec<String> = {
                let characters: Vec<char> = password.chars().collect();
                characters.windows(3).map(|three| three.iter().collect()).collect()
            };
            for url in urls {
                for shown in [redact(&url), redact_list(&url)] {
                    // The parts that every address shows are no secret.
                    let shown = shown.replace("***", "").replace("://", "");
                    let leaked = pieces.iter().find(|piece| shown.contains(piece.as_str()));
                    assert_eq!(leaked, None, "{url} is shown as {shown}");
                }
            }
        }
    }
}
