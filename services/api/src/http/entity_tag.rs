//! Entity tags (RFC 9110, section 8.8.3): whether a client's copy of an answer is the present one.

use domain::Sha256Digest;

/// The tag of an answer with this body.
pub(crate) fn entity_tag(body: impl AsRef<[u8]>) -> String {
    let digest = Sha256Digest::of(body).to_string();
    format!("\"{}\"", &digest[..32])
}

/// Whether the value of `If-None-Match` has `tag` in it. Tags are compared weakly: proxies that compress mark them so.
pub(crate) fn matches(if_none_match: &str, tag: &str) -> bool {
    let mut known = if_none_match.split(',').map(str::trim);
    known.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_in_a_list() {
        let tag = entity_tag("a");
        assert_eq!(tag.len(), 34);
        assert_ne!(tag, entity_tag("b"));
        for header in [tag.clone(), format!("\"x\", {tag}"), format!("W/{tag}"), "*".to_owned()] {
            assert!(matches(&header, &tag), "{header}");
        }
        for header in ["", "\"x\"", &tag[1..]] {
            assert!(!matches(header, &tag), "{header}");
        }
    }
}
