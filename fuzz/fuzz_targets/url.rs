//! Checks a URL that a client names: what is accepted is `https`, of a public host if that is an address, has no login,
//! and is accepted again as it is written.

#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use outbound::{UrlRules, is_public};

fuzz_target!(|input: &[u8]| {
    let Ok(text) = str::from_utf8(input) else { return };
    let rules = UrlRules::default();
    let Ok(target) = rules.check(text) else { return };
    let url = target.url();
    assert_eq!(url.scheme(), "https");
    assert_eq!(url.port_or_known_default(), Some(443));
    assert!(url.username().is_empty() && url.password().is_none());
    let host = target.host().to_string();
    let literal = host.trim_start_matches('[').trim_end_matches([']', '.']);
    if let Ok(address) = literal.parse::<IpAddr>() {
        assert!(is_public(address), "{text}: {address}");
    }
    assert_eq!(rules.check(url.as_str()).as_ref(), Ok(&target), "{text}");
});
