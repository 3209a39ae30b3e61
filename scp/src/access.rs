//! Who may open an association, and how many connections and associations there are at once.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    config::{PeerRule, ScpConfig},
    pdu::Rejection,
};

/// Decides by the calling AE title and the address together.
///
/// # Errors
/// When no rule lets the peer in.
pub(crate) fn check_peer(
    config: &ScpConfig,
    address: IpAddr,
    calling_ae_title: &str,
) -> Result<(), Rejection> {
    let address = address.to_canonical();
    let allowed = config.allow_any
        || address.is_loopback()
        || config.allow.iter().any(|rule| matches(rule, address, calling_ae_title));
    if allowed { Ok(()) } else { Err(Rejection::CallingAeTitleNotRecognized) }
}

/// Whether an association of some title could come from `address`; if none can, its bytes need not be read.
pub(crate) fn could_come(config: &ScpConfig, address: IpAddr) -> bool {
    let address = address.to_canonical();
    config.allow_any
        || address.is_loopback()
        || config.allow.iter().any(|rule| rule.address.is_none_or(|network| network.contains(&address)))
}

fn matches(rule: &PeerRule, address: IpAddr, calling_ae_title: &str) -> bool {
    rule.ae_title.as_ref().is_none_or(|title| title.as_str() == calling_ae_title)
        && rule.address.is_none_or(|network| network.contains(&address))
}

/// The associations, or the connections, that are open, in all and for each peer.
#[derive(Debug)]
pub(crate) struct Census {
    all_max: usize,
    per_peer_max: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One that is counted, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    census: Arc<Census>,
    peer: IpAddr,
}

impl Census {
    pub(crate) fn new(all_max: usize, per_peer_max: usize) -> Self {
        Self { all_max, per_peer_max, open: Mutex::default() }
    }

    pub(crate) fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// # Errors
    /// When a limit is reached; the peer may try later.
    pub(crate) fn take_seat(self: &Arc<Self>, peer: IpAddr) -> Result<Seat, Rejection> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let of_peer = open.get(&peer).copied().unwrap_or(0);
        if of_peer >= self.per_peer_max || open.values().sum::<usize>() >= self.all_max {
            return Err(Rejection::LocalLimitExceeded);
        }
        open.insert(peer, of_peer + 1);
        Ok(Seat { census: self.clone(), peer })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.census.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ledger::{BootId, NodeId};

    use super::*;
    use crate::AeTitle;

    fn config(allow: Vec<PeerRule>) -> ScpConfig {
        let listen = "127.0.0.1:0".parse().unwrap();
        let title = AeTitle::parse("OVERREAD").unwrap();
        ScpConfig { allow, ..ScpConfig::new(listen, title, NodeId::new("n"), BootId::new("b")) }
    }

    #[test]
    fn a_peer_needs_title_and_address_of_one_rule() {
        let rules = vec![
            PeerRule {
                ae_title: Some(AeTitle::parse("CT1").unwrap()),
                address: Some("10.1.0.0/16".parse().unwrap()),
            },
            PeerRule { ae_title: None, address: Some("10.2.0.7/32".parse().unwrap()) },
        ];
        let config = config(rules);
        let allowed = |address: &str, title| check_peer(&config, address.parse().unwrap(), title).is_ok();
        assert!(allowed("10.1.2.3", "CT1"));
        assert!(!allowed("10.1.2.3", "CT2"));
        assert!(!allowed("10.9.2.3", "CT1"));
        assert!(allowed("10.2.0.7", "ANY"));
        assert!(allowed("::ffff:10.2.0.7", "ANY"));
        assert!(allowed("127.0.0.1", "ANY") && allowed("::1", "ANY"));
    }

    #[test]
    fn an_address_that_no_rule_lets_in_is_known_before_it_says_a_title() {
        let rule = |title: Option<&str>, address: Option<&str>| PeerRule {
            ae_title: title.map(|title| AeTitle::parse(title).unwrap()),
            address: address.map(|address| address.parse().unwrap()),
        };
        let could_come =
            |config: &ScpConfig, address: &str| super::could_come(config, address.parse().unwrap());
        let by_address = config(vec![rule(Some("CT1"), Some("10.1.0.0/16"))]);
        assert!(could_come(&by_address, "10.1.2.3") && could_come(&by_address, "::ffff:10.1.2.3"));
        assert!(could_come(&by_address, "127.0.0.1"));
        assert!(!could_come(&by_address, "10.9.2.3"));
        let by_title = config(vec![rule(Some("CT1"), None)]);
        assert!(could_come(&by_title, "10.9.2.3"));
        let anybody = ScpConfig { allow_any: true, ..config(Vec::new()) };
        assert!(could_come(&anybody, "10.9.2.3"));
    }

    #[test]
    fn seats_come_free_again() {
        let census = Arc::new(Census::new(3, 2));
        let (one, two): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let first = census.take_seat(one).unwrap();
        let _second = census.take_seat(one).unwrap();
        assert!(census.take_seat(one).is_err(), "two of one peer");
        let _third = census.take_seat(two).unwrap();
        assert!(census.take_seat(two).is_err(), "three in all");
        drop(first);
        assert!(census.take_seat(one).is_ok());
    }
}
