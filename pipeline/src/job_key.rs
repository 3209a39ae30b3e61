//! The key of a job: the same question over the same input to the same model has the same
//! key, however often and in whichever order it was sent.

use sha2::{Digest, Sha256};

/// Domain of the digest; a change of what goes into it would ask every question anew.
const DOMAIN: &str = "overread job 1";

/// One channel: SOP Instance UID and data-set digest of each instance.
pub(crate) type ChannelInput<'a> = Vec<(&'a str, &'a str)>;

/// The key for these channels (in the model's order), this package and these options.
pub(crate) fn job_key(
    channels: &[ChannelInput<'_>],
    package_digest: &str,
    options: &serde_json::Value,
) -> String {
    let mut hasher = Sha256::new();
    let mut part = |text: &str| {
        // With its length, so that no two lists of parts read the same.
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text.as_bytes());
    };
    part(DOMAIN);
    part(package_digest);
    part(&options.to_string());
    for channel in channels {
        let mut instances = channel.clone();
        instances.sort_unstable();
        instances.dedup();
        part(&instances.len().to_string());
        for (sop_instance, digest) in instances {
            part(sop_instance);
            part(digest);
        }
    }
    let digest: [u8; 32] = hasher.finalize().into();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn order_and_repeats_do_not_matter() {
        let one = job_key(&[vec![("1.1", "a"), ("1.2", "b")]], "p", &json!({}));
        let other = job_key(&[vec![("1.2", "b"), ("1.1", "a"), ("1.2", "b")]], "p", &json!({}));
        assert_eq!(one, other);
        assert_eq!(one.len(), 64);
    }

    #[test]
    fn instance_content_package_options_and_channel_matter() {
        let mut keys = vec![
            job_key(&[vec![("1.1", "a"), ("1.2", "b")]], "p", &json!({})),
            job_key(&[vec![("1.1", "a")]], "p", &json!({})),
            job_key(&[vec![("1.1", "x"), ("1.2", "b")]], "p", &json!({})),
            job_key(&[vec![("1.1", "a"), ("1.2", "b")]], "q", &json!({})),
            job_key(&[vec![("1.1", "a"), ("1.2", "b")]], "p", &json!({ "overlap": 0.5 })),
            job_key(&[vec![("1.1", "a")], vec![("1.2", "b")]], "p", &json!({})),
            job_key(&[vec![("1.2", "b")], vec![("1.1", "a")]], "p", &json!({})),
        ];
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 7);
    }
}
