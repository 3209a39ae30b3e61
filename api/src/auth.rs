//! Who calls, and what he may do.
//!
//! A caller is an account that signed in (an access token) or an API key. Both are looked
//! up at each request, unless nothing was committed since the last one, so that what an administrator
//! takes away is gone at once. Handlers
//! ask for the type that says what they need; holding one is the permission.

mod caller;
mod credential;
mod gateway;
mod key;
mod look_up;
mod oidc;
mod one_time;
mod password;
mod remembered;
mod scope;
mod token;

pub(crate) use caller::Who;
pub(crate) use caller::{Admin, Caller, Clinician, Doctor, Operator, Person, Reader, Releaser};
pub(crate) use credential::{bearer, identify};
pub use gateway::{GatewayTokens, ShortGatewayKey};
pub use key::{Secret, digest_of};
pub(crate) use look_up::KeyLookUps;
pub use oidc::{Oidc, OidcConfig, OidcError};
pub use one_time::{OneTimeError, issue_one_time, issue_only_one_time};
pub(crate) use password::PasswordWork;
pub use password::{Password, PasswordError, hash_password};
pub(crate) use remembered::Remembered;
pub use scope::{NoSuchScope, Scope};
pub(crate) use token::Purpose;
pub use token::{ShortSecret, TokenSigner};
