//! Which proxy a request takes, as the environment says.

use std::net::IpAddr;

use super::target::{Security, Target};
use crate::url;

/// The proxies that the environment names (`http_proxy`, `https_proxy`, `no_proxy`, in lower or upper case).
///
/// Empty by default: nothing here asks the environment on its own. Requests to `localhost` and to loopback
/// addresses never take a proxy.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    direct: Vec<Exception>,
}

/// One entry of `http_proxy` or `https_proxy`.
#[derive(Clone, Debug)]
pub(crate) enum Proxy {
    Http(Target),
    /// It cannot be used; with the reason.
    Unusable(Box<str>),
}

/// One entry of `no_proxy`.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Exception {
    All,
    /// The name itself unless it began with a dot, and everything below it; optionally on one port only.
    Domain {
        name: Box<str>,
        itself: bool,
        port: Option<u16>,
    },
    Addresses {
        first: IpAddr,
        bits: u8,
        port: Option<u16>,
    },
}

impl Proxies {
    /// The proxies of this process's environment.
    pub fn from_environment() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// The proxies that `variable` names; it is asked for environment variables.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |name: &str| {
            let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
            set(name).or_else(|| set(&name.to_ascii_uppercase()))
        };
        Proxies {
            http: either("http_proxy").map(|value| Proxy::parse("http_proxy", &value)),
            https: either("https_proxy").map(|value| Proxy::parse("https_proxy", &value)),
            direct: either("no_proxy")
                .iter()
                .flat_map(|list| list.split(','))
                .filter_map(exception)
                .collect(),
        }
    }

    /// The proxy for a request to `target`; `None` is a direct connection.
    pub(crate) fn choose(&self, target: &Target) -> Option<&Proxy> {
        let proxy = match target.security() {
            Security::Plain => self.http.as_ref(),
            Security::Tls => self.https.as_ref(),
        }?;
        let address: Option<IpAddr> = target.host().parse().ok();
        let local = target.host() == "localhost" || address.is_some_and(|a| a.is_loopback());
        let direct = local || self.direct.iter().any(|e| e.covers(target.host(), address, target.port()));
        (!direct).then_some(proxy)
    }
}

impl Proxy {
    /// A URL, or `host:port` alone.
    fn parse(variable: &str, value: &str) -> Self {
        let value = value.trim();
        let parsed = match url::split_scheme(value) {
            Ok(_) => Target::parse(value),
            Err(_) => Target::parse(&format!("http://{value}")),
        };
        match parsed {
            Ok(target) => Proxy::Http(target),
            Err(error) => Proxy::Unusable(format!("the proxy in {variable}: {error}").into()),
        }
    }
}

impl Exception {
    fn covers(&self, host: &str, address: Option<IpAddr>, at: u16) -> bool {
        match self {
            Exception::All => true,
            Exception::Domain { name, itself, port } => {
                let below = host.strip_suffix(&**name).is_some_and(|sub| sub.ends_with('.'));
                port.is_none_or(|port| port == at) && (below || (*itself && host == &**name))
            }
            Exception::Addresses { first, bits, port } => {
                port.is_none_or(|port| port == at) && address.is_some_and(|a| same_network(*first, a, *bits))
            }
        }
    }
}

fn exception(entry: &str) -> Option<Exception> {
    let entry = entry.trim().to_ascii_lowercase();
    if entry.is_empty() {
        return None;
    }
    if entry == "*" {
        return Some(Exception::All);
    }
    if let Some((address, bits)) = entry.split_once('/') {
        let (first, bits) = (address.parse().ok()?, bits.parse().ok()?);
        return Some(Exception::Addresses { first, bits, port: None });
    }
    if let Ok(first) = entry.parse() {
        return Some(Exception::Addresses { first, bits: 128, port: None });
    }
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (entry.as_str(), None),
    };
    if let Ok(first) = host.trim_matches(['[', ']']).parse() {
        return Some(Exception::Addresses { first, bits: 128, port });
    }
    let name = host.strip_prefix("*.").or_else(|| host.strip_prefix('.'));
    Some(Exception::Domain { name: name.unwrap_or(host).into(), itself: name.is_none(), port })
}

fn same_network(a: IpAddr, b: IpAddr, bits: u8) -> bool {
    let same = |a: u128, b: u128, width: u32| {
        let ignored = width.saturating_sub(u32::from(bits));
        (a ^ b).checked_shr(ignored).unwrap_or(0) == 0
    };
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(u32::from(a).into(), u32::from(b).into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.into(), b.into(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &'static [(&str, &str)]) -> Proxies {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name);
        Proxies::from_variables(|name| find(name).map(|(_, value)| (*value).to_owned()))
    }

    fn chosen(proxies: &Proxies, url: &str) -> Option<String> {
        match proxies.choose(&Target::parse(url).unwrap())? {
            Proxy::Http(target) => Some(target.to_string()),
            Proxy::Unusable(reason) => Some(reason.to_string()),
        }
    }

    #[test]
    fn each_scheme_has_its_variable_and_lower_case_wins() {
        let set = proxies(&[("http_proxy", "a:1"), ("HTTP_PROXY", "b:1"), ("HTTPS_PROXY", "http://u:p@c:2")]);
        assert_eq!(chosen(&set, "http://x/").unwrap(), "http://a:1/");
        assert_eq!(chosen(&set, "https://x/").unwrap(), "http://c:2/");
        assert_eq!(chosen(&proxies(&[("http_proxy", " ")]), "http://x/"), None);
    }

    #[test]
    fn a_proxy_of_an_unknown_kind_is_named() {
        let reason = chosen(&proxies(&[("http_proxy", "socks5://u:p@a:1")]), "http://x/").unwrap();
        assert!(reason.starts_with("the proxy in http_proxy: unknown scheme \"socks5\""), "{reason}");
        assert!(!reason.contains("u:p"));
    }

    #[test]
    fn exceptions_are_reached_directly() {
        let list = "a.test, .b.test,*.c.test,10.0.0.0/8,192.0.2.1,fd00::/8,d.test:81,[::5]:82,,bad/x";
        let set = Proxies::from_variables(|name| match name {
            "http_proxy" => Some("p:1".into()),
            "NO_PROXY" => Some(list.into()),
            _ => None,
        });
        for (host, direct) in [
            ("a.test", true),
            ("x.a.test", true),
            ("xa.test", false),
            ("b.test", false),
            ("x.b.test", true),
            ("x.c.test", true),
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("[fd12::1]", true),
            ("[fe80::1]", false),
            ("d.test", false),
            ("d.test:81", true),
            ("[::5]:82", true),
            ("localhost", true),
            ("127.1.2.3", true),
            ("[::1]:8000", true),
        ] {
            assert_eq!(chosen(&set, &format!("http://{host}/")).is_none(), direct, "{host}");
        }
        let all = proxies(&[("http_proxy", "p:1"), ("no_proxy", "*")]);
        assert_eq!(chosen(&all, "http://x/"), None);
    }
}
