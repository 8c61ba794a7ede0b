//! What a key may be used for.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Submitting pictures, and cancelling the key's own tasks.
    Submit,
    /// Reading the key's own tasks.
    Read,
    /// Everything, on the tasks of all keys and on those without one.
    Admin,
}

/// A text that is not a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a scope is submit, read or admin, got '{0}'")]
pub struct InvalidScope(pub String);

impl Scope {
    const ALL: [Self; 3] = [Self::Submit, Self::Read, Self::Admin];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let found = Self::ALL.into_iter().find(|scope| scope.name() == text);
        found.ok_or_else(|| InvalidScope(text.to_owned()))
    }
}

/// Some scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Scope>", into = "Vec<Scope>")]
pub struct Scopes {
    submit: bool,
    read: bool,
    admin: bool,
}

impl Default for Scopes {
    /// Submitting and reading.
    fn default() -> Self {
        [Scope::Submit, Scope::Read].into_iter().collect()
    }
}

impl Scopes {
    /// Whether they permit what `scope` is for; `admin` permits everything.
    #[must_use]
    pub fn permit(self, scope: Scope) -> bool {
        self.admin
            || match scope {
                Scope::Submit => self.submit,
                Scope::Read => self.read,
                Scope::Admin => false,
            }
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut all = Self { submit: false, read: false, admin: false };
        for scope in scopes {
            match scope {
                Scope::Submit => all.submit = true,
                Scope::Read => all.read = true,
                Scope::Admin => all.admin = true,
            }
        }
        all
    }
}

impl From<Vec<Scope>> for Scopes {
    fn from(scopes: Vec<Scope>) -> Self {
        scopes.into_iter().collect()
    }
}

impl From<Scopes> for Vec<Scope> {
    fn from(Scopes { submit, read, admin }: Scopes) -> Self {
        let all = [(submit, Scope::Submit), (read, Scope::Read), (admin, Scope::Admin)];
        all.into_iter().filter_map(|(has, scope)| has.then_some(scope)).collect()
    }
}

/// As a list: `submit, read`.
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Vec::from(*self).into_iter().map(Scope::name).collect();
        f.write_str(&names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_permits_everything_and_other_scopes_what_they_say() {
        let of = |scopes: &[Scope]| scopes.iter().copied().collect::<Scopes>();
        for scope in Scope::ALL {
            assert_eq!(scope.name().parse(), Ok(scope));
            assert!(of(&[Scope::Admin]).permit(scope));
            assert!(!of(&[]).permit(scope));
            assert!(of(&[scope]).permit(scope));
        }
        assert!(!of(&[Scope::Submit]).permit(Scope::Read));
        assert!(!of(&[Scope::Read]).permit(Scope::Submit));
        assert!(!Scopes::default().permit(Scope::Admin));
        assert_eq!(Scopes::default().to_string(), "submit, read");
        assert!("Read".parse::<Scope>().is_err());
    }

    #[test]
    fn scopes_survive_their_json_and_an_unknown_one_is_an_error() {
        for scopes in [of_json(r#"[]"#), of_json(r#"["admin","read"]"#)] {
            let json = serde_json::to_string(&scopes).unwrap();
            assert_eq!(of_json(&json), scopes, "{json}");
        }
        assert!(serde_json::from_str::<Scopes>(r#"["everything"]"#).is_err());
    }

    fn of_json(json: &str) -> Scopes {
        serde_json::from_str(json).unwrap()
    }
}
