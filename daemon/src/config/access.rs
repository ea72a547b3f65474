//! Who may use a resource: the users of the file, and what a resource asks of them.

use std::collections::BTreeMap;

use http::HeaderValue;
use restreamer_io::auth::{Access, Credentials};

use super::reader::{Field, Section};
use super::report::nearest;
use super::secret::Secret;

/// What a request must bring along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Authentication {
    /// Nothing.
    #[default]
    Open,
    /// The name and the password of one of `users` (RFC 7617); without users nobody is let in.
    Basic {
        /// What the login dialogue calls the place.
        realm: String,
        /// Who is let in.
        users: Vec<User>,
    },
    /// The password of one of `users`, exactly as configured (RFC 6750); without users nobody is let in.
    Bearer {
        /// Who is let in.
        users: Vec<User>,
    },
}

/// One entry of the `userlist`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The password, or the token of a bearer.
    pub password: Secret,
}

impl User {
    fn to_credentials(&self) -> Credentials {
        Credentials::new(&self.name, self.password.reveal())
    }
}

#[derive(Clone, Copy)]
enum Scheme {
    Open,
    Basic,
    Bearer,
}

const SCHEMES: [(&str, Scheme); 3] =
    [("basic", Scheme::Basic), ("bearer", Scheme::Bearer), ("", Scheme::Open)];

/// Every user of the file, by name.
#[derive(Default)]
pub(super) struct UserList(BTreeMap<String, Secret>);

impl UserList {
    /// Reads `userlist`.
    pub(super) fn read(top: &mut Section<'_>) -> UserList {
        let mut users = BTreeMap::new();
        for (name, field) in top.section("userlist").map(Section::named).unwrap_or_default() {
            let Some(mut entry) = field.section() else { continue };
            let password = entry.text("password").unwrap_or_default();
            if password.is_empty() {
                entry.warning("password", "is empty");
            } else if password.chars().any(char::is_control) {
                entry.error("password", "holds a control character, which no header can carry");
            }
            entry.finish();
            users.insert(name, Secret::new(password));
        }
        UserList(users)
    }

    fn find(&self, field: &Field<'_>) -> Option<User> {
        let name = field.text()?;
        match self.0.get(name) {
            Some(password) => Some(User { name: name.to_owned(), password: password.clone() }),
            None => match nearest(name, self.0.keys().map(String::as_str)) {
                Some(meant) => {
                    field.fails(format!("{name:?} is not in the userlist: did you mean {meant:?}?"))
                }
                None => field.fails(format!("{name:?} is not in the userlist")),
            },
        }
    }
}

impl Authentication {
    /// Reads the `authentication` of a resource.
    pub(super) fn read(resource: &mut Section<'_>, userlist: &UserList) -> Authentication {
        let Some(mut section) = resource.section("authentication") else { return Authentication::Open };
        let scheme = match section.take("type") {
            Some(field) => field.choice(&SCHEMES),
            None => Some(Scheme::Open),
        };
        let realm = section.text("realm").unwrap_or_default();
        let listed: Vec<_> =
            section.take("user").filter(is_named).into_iter().chain(section.list("users")).collect();
        let mut users: Vec<User> = Vec::new();
        for field in &listed {
            if let Some(user) =
                userlist.find(field).filter(|user| users.iter().all(|known| known.name != user.name))
            {
                users.push(user);
            }
        }
        let authentication = match scheme {
            Some(Scheme::Basic) => {
                if realm.chars().any(char::is_control) {
                    section.error("realm", "holds a control character, which no header can carry");
                }
                if let Some(user) = users.iter().find(|user| user.name.contains(':')) {
                    section.warning(
                        "",
                        format!("{:?} holds a colon; basic cannot tell it from the password", user.name),
                    );
                }
                Authentication::Basic { realm, users }
            }
            Some(Scheme::Bearer) => Authentication::Bearer { users },
            Some(Scheme::Open) | None => {
                if !listed.is_empty() && scheme.is_some() {
                    section.warning("type", "is missing: users are listed, and everybody is let in");
                }
                Authentication::Open
            }
        };
        if authentication.admits_nobody() {
            section.warning("users", "is empty: nobody is let in");
        }
        section.finish();
        authentication
    }

    /// The rule as the server applies it.
    pub fn to_access(&self) -> Access {
        let credentials = |users: &[User]| users.iter().map(User::to_credentials).collect::<Vec<_>>();
        match self {
            Authentication::Open => Access::open(),
            Authentication::Basic { realm, users } => Access::basic(realm, &credentials(users)),
            Authentication::Bearer { users } => Access::bearer(&credentials(users)),
        }
    }

    fn admits_nobody(&self) -> bool {
        match self {
            Authentication::Open => false,
            Authentication::Basic { users, .. } | Authentication::Bearer { users } => users.is_empty(),
        }
    }
}

/// Reads the `authentication` of a notification into the `Authorization` header that goes with it.
pub(super) fn read_authorization(notification: &mut Section<'_>, userlist: &UserList) -> Option<HeaderValue> {
    let mut section = notification.section("authentication")?;
    let scheme = section.choice("type", &SCHEMES).unwrap_or(Scheme::Open);
    let user = section.take("user").filter(is_named);
    if user.is_none() && !matches!(scheme, Scheme::Open) {
        section.error("user", "is missing");
    }
    section.finish();
    let user = userlist.find(&user?)?.to_credentials();
    match scheme {
        Scheme::Open => None,
        Scheme::Basic => Some(user.to_basic()),
        Scheme::Bearer => user.to_bearer(),
    }
}

fn is_named(field: &Field<'_>) -> bool {
    field.value() != &super::json::Value::Text(String::new())
}
