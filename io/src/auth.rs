//! Who may use a resource: HTTP Basic (RFC 7617) and Bearer (RFC 6750) against a list of users.
//!
//! Secrets are kept and compared as SHA-256 digests, all users of a resource each time, so that the time an
//! answer takes says nothing about a secret, not even its length. No secret is ever printed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderValue};
use ring::digest::{SHA256, digest};
use subtle::{Choice, ConstantTimeEq};

use crate::answer::{self, Answer};

/// A name and its password as configured.
#[derive(Clone)]
pub struct Credentials {
    user: Box<str>,
    password: Box<str>,
}

/// The rule for one resource.
#[derive(Clone, Default)]
pub struct Access(Rule);

/// A request is not authorized, and this is how to say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// There was no `Authorization` of the right scheme.
    Missing,
    /// There was one, and it names nobody who may enter.
    Wrong,
}

#[derive(Clone, Default)]
enum Rule {
    #[default]
    Open,
    Basic {
        challenge: HeaderValue,
        users: Vec<Digest>,
    },
    Bearer {
        tokens: Vec<Digest>,
    },
}

type Digest = [u8; 32];

impl Denied {
    /// The reason in the log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Denied::Missing => "no credentials",
            Denied::Wrong => "wrong credentials",
        }
    }
}

impl Credentials {
    /// Credentials of one user.
    pub fn new(user: &str, password: &str) -> Self {
        Credentials { user: user.into(), password: password.into() }
    }

    /// The `Authorization` value that a Basic client sends.
    pub fn to_basic(&self) -> HeaderValue {
        sensitive(format!("Basic {}", STANDARD.encode(self.user_pass())))
    }

    /// The `Authorization` value that a Bearer client sends: the password is the token, as configured.
    ///
    /// `None` when the password cannot stand in a header.
    pub fn to_bearer(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.password)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    fn user_pass(&self) -> String {
        format!("{}:{}", self.user, self.password)
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Rule::Open => "Access::Open",
            Rule::Basic { .. } => "Access::Basic",
            Rule::Bearer { .. } => "Access::Bearer",
        })
    }
}

impl Access {
    /// Everybody may enter.
    pub fn open() -> Self {
        Access::default()
    }

    /// These users may enter with `Authorization: Basic`; without users, nobody.
    pub fn basic(realm: &str, users: &[Credentials]) -> Self {
        Access(Rule::Basic {
            challenge: challenge(realm),
            users: users.iter().map(|user| hash(user.user_pass().as_bytes())).collect(),
        })
    }

    /// The passwords of these users are tokens for `Authorization: Bearer`; without users, nobody may enter.
    ///
    /// An empty password is no token.
    pub fn bearer(users: &[Credentials]) -> Self {
        let tokens = users.iter().map(|user| user.password.as_bytes()).filter(|token| !token.is_empty());
        Access(Rule::Bearer { tokens: tokens.map(hash).collect() })
    }

    /// Whether a request with these headers may go on.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let given = headers.get(header::AUTHORIZATION).and_then(split_scheme);
        let (secret, allowed) = match &self.0 {
            Rule::Open => return Ok(()),
            Rule::Basic { users, .. } => {
                let (_, encoded) = given.filter(|(scheme, _)| is(scheme, "basic")).ok_or(Denied::Missing)?;
                (STANDARD.decode(encoded).map_err(|_| Denied::Wrong)?, users)
            }
            Rule::Bearer { tokens } => {
                let (_, token) = given.filter(|(scheme, _)| is(scheme, "bearer")).ok_or(Denied::Missing)?;
                (token.to_vec(), tokens)
            }
        };
        let secret = hash(&secret);
        let hits = allowed.iter().fold(Choice::from(0), |hits, one| hits | one.ct_eq(&secret));
        if bool::from(hits) { Ok(()) } else { Err(Denied::Wrong) }
    }

    /// The answer to a request that may not go on.
    pub(crate) fn refuse(&self) -> Answer {
        let Rule::Basic { challenge, .. } = &self.0 else {
            return answer::text(StatusCode::FORBIDDEN, "403 forbidden\n");
        };
        let mut answer = answer::text(StatusCode::UNAUTHORIZED, "401 unauthorized\n");
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge.clone());
        answer
    }
}

/// `Basic realm="…", charset="UTF-8"` with the realm as a quoted string (RFC 9110 §5.6.4).
///
/// Control characters cannot stand in a header and become spaces.
fn challenge(realm: &str) -> HeaderValue {
    let mut value = String::from("Basic realm=\"");
    for character in realm.chars() {
        match character {
            '"' | '\\' => value.extend(['\\', character]),
            control if control.is_ascii_control() => value.push(' '),
            other => value.push(other),
        }
    }
    value.push_str("\", charset=\"UTF-8\"");
    HeaderValue::from_bytes(value.as_bytes()).expect("control characters were replaced")
}

/// The scheme, and what follows it after one or more spaces.
fn split_scheme(value: &HeaderValue) -> Option<(&[u8], &[u8])> {
    let value = value.as_bytes();
    let end = value.iter().position(|&byte| byte == b' ')?;
    let (scheme, rest) = value.split_at(end);
    Some((scheme, rest.trim_ascii()))
}

fn is(scheme: &[u8], name: &str) -> bool {
    scheme.eq_ignore_ascii_case(name.as_bytes())
}

fn hash(secret: &[u8]) -> Digest {
    let mut digest_bytes = [0; 32];
    digest_bytes.copy_from_slice(digest(&SHA256, secret).as_ref());
    digest_bytes
}

fn sensitive(value: String) -> HeaderValue {
    let mut value = HeaderValue::try_from(value).expect("base64 is visible ASCII");
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(access: &Access, authorization: &str) -> Result<(), Denied> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_bytes(authorization.as_bytes()).unwrap());
        access.check(&headers)
    }

    fn users() -> [Credentials; 2] {
        [Credentials::new("alice", "open: sesame"), Credentials::new("b\u{f6}b", "pa\u{df}")]
    }

    #[test]
    fn basic_takes_the_listed_users_and_nobody_else() {
        let access = Access::basic("tv", &users());
        for (authorization, verdict) in [
            ("Basic YWxpY2U6b3Blbjogc2VzYW1l", Ok(())),
            ("bASIC   YWxpY2U6b3Blbjogc2VzYW1l", Ok(())),
            ("Basic YsO2YjpwYcOf", Ok(())),
            ("Basic YWxpY2U6b3Blbg==", Err(Denied::Wrong)),
            ("Basic YWxpY2U=", Err(Denied::Wrong)),
            ("Basic ####", Err(Denied::Wrong)),
            ("Basic ", Err(Denied::Wrong)),
            ("Basic", Err(Denied::Missing)),
            ("Bearer open: sesame", Err(Denied::Missing)),
            ("", Err(Denied::Missing)),
        ] {
            assert_eq!(check(&access, authorization), verdict, "{authorization}");
        }
        assert_eq!(access.check(&HeaderMap::new()), Err(Denied::Missing));
    }

    #[test]
    fn bearer_takes_the_password_as_configured() {
        let access = Access::bearer(&users());
        assert_eq!(check(&access, "Bearer open: sesame"), Ok(()));
        assert_eq!(check(&access, "BEARER pa\u{df}"), Ok(()));
        assert_eq!(check(&access, "Bearer alice"), Err(Denied::Wrong));
        assert_eq!(check(&access, "Basic YWxpY2U6b3Blbjogc2VzYW1l"), Err(Denied::Missing));
    }

    #[test]
    fn without_users_nobody_may_enter_and_open_takes_everybody() {
        assert_eq!(check(&Access::basic("tv", &[]), "Basic Og=="), Err(Denied::Wrong));
        assert_eq!(check(&Access::bearer(&[]), "Bearer x"), Err(Denied::Wrong));
        assert_eq!(Access::open().check(&HeaderMap::new()), Ok(()));
    }

    #[test]
    fn an_empty_token_is_never_right() {
        let access = Access::bearer(&[Credentials::new("nobody", "")]);
        assert_eq!(check(&access, "Bearer "), Err(Denied::Wrong));
        assert_eq!(check(&access, "Bearer"), Err(Denied::Missing));
    }

    #[test]
    fn the_realm_is_a_quoted_string() {
        let value = challenge("say \"hi\" \\ \u{e9}\r\nX: y");
        assert_eq!(
            value.as_bytes(),
            "Basic realm=\"say \\\"hi\\\" \\\\ \u{e9}  X: y\", charset=\"UTF-8\"".as_bytes()
        );
    }

    #[test]
    fn what_a_client_would_send_is_what_the_check_takes() {
        let [alice, _] = users();
        let basic = alice.to_basic();
        assert_eq!(check(&Access::basic("", std::slice::from_ref(&alice)), basic.to_str().unwrap()), Ok(()));
        let bearer = alice.to_bearer().unwrap();
        assert_eq!(check(&Access::bearer(&[alice]), bearer.to_str().unwrap()), Ok(()));
    }

    #[test]
    fn secrets_are_not_printed() {
        let [alice, _] = users();
        let shown = format!("{alice:?} {:?} {:?}", alice.to_basic(), Access::bearer(&users()));
        assert!(!shown.contains("sesame") && !shown.contains("YWxpY2U6"), "{shown}");
    }
}
