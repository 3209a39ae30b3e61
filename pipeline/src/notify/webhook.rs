//! Webhooks, signed as the Standard Webhooks specification 1.0.0 says: any library for it verifies them.

use std::{fmt, path::Path, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use ledger::Millis;
use orthanc_bridge::{ConnectionError, RestError};
use reqwest::{Method, header};
use serde_json::json;
use sha2::Sha256;

use super::{Notice, address::Address};
use crate::destination::SendError;

/// How a secret begins; the rest is base64.
const PREFIX: &str = "whsec_";
/// Bytes of a secret.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// What signs the messages of one subscriber. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(Vec<u8>);

/// A text that is no secret of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected \"whsec_\" and the base64 of 24 to 64 random bytes, such as `openssl rand -base64 32` prints"
)]
pub struct BadWebhookSecret;

impl FromStr for WebhookSecret {
    type Err = BadWebhookSecret;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let encoded = text.strip_prefix(PREFIX).ok_or(BadWebhookSecret)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| BadWebhookSecret)?;
        if LENGTHS.contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(BadWebhookSecret) }
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("WebhookSecret")
    }
}

impl WebhookSecret {
    /// The value of `webhook-signature`: over id, seconds and body, each behind a full stop.
    fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// A subscriber that is told by POST.
#[derive(Debug)]
pub(crate) struct Webhook {
    address: Address,
    secret: WebhookSecret,
}

impl Webhook {
    pub(crate) fn open(
        url: &str,
        ca_file: Option<&Path>,
        secret: WebhookSecret,
    ) -> Result<Self, ConnectionError> {
        Ok(Self { address: Address::open(url, ca_file)?, secret })
    }

    /// Any answer of the kind "success" means that the message is taken.
    pub(crate) async fn tell(&self, notice: &Notice) -> Result<(), SendError> {
        let body =
            json!({ "type": notice.kind, "timestamp": notice.timestamp, "data": notice.data }).to_string();
        // The moment of this try: a receiver refuses what is old, so that nobody can play it again.
        let seconds = Millis::now().0 / 1000;
        let request = self
            .address
            .request(Method::POST)?
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", &notice.id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", self.secret.sign(&notice.id, seconds, body.as_bytes()))
            .body(body);
        match self.address.rest.send(request).await {
            Ok(_) => Ok(()),
            Err(error) => Err(without_path(error)),
        }
    }

    /// Whether somebody answers there, whatever it is: a message would be a lie.
    pub(crate) async fn check(&self) -> Result<(), SendError> {
        match self.address.rest.send(self.address.request(Method::HEAD)?).await {
            Err(error @ RestError::Unreachable { .. }) => Err(error.into()),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// The path may be what keeps strangers out.
fn without_path(error: RestError) -> SendError {
    match error {
        RestError::NotFound { peer, .. } => {
            SendError::Unavailable(format!("{peer} knows no such address (HTTP 404): check notify.url"))
        }
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries.
    #[test]
    fn a_signature_is_what_the_specification_says() {
        let secret: WebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let signature =
            secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_that_is_none_is_refused_and_none_is_shown() {
        for text in ["", "whsec_", "geheim", "whsec_c2hvcnQ=", "whsec_*"] {
            assert_eq!(text.parse::<WebhookSecret>(), Err(BadWebhookSecret), "{text:?}");
        }
        let secret: WebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        assert_eq!(format!("{secret:?}"), "WebhookSecret");
    }
}
