//! The caller, and the permissions that a handler can ask for.

use axum::{
    extract::FromRequestParts,
    http::{Method, request::Parts},
};
use ledger::{AccountId, ApiKeyId, Role, SessionId};

use super::scope;
use crate::{
    error::{ApiError, ApiResult, Code},
    gate::CountedFor,
};

/// Somebody who showed who he is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) who: Who,
    /// The login name of the account, or the name of the key.
    pub(crate) name: String,
    pub(crate) role: Role,
    /// What a key is limited to; see [`super::scope`].
    pub(crate) scopes: Vec<String>,
}

/// By what the caller showed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// A person at a screen.
    Account { account: AccountId, session: SessionId },
    /// A program.
    Key(ApiKeyId),
    /// A user of the old gateway, by its token: an account of ours when the name is one.
    Gateway { account: Option<AccountId> },
    /// A program with a token of the OpenID Connect provider. It has an account, and is nobody: what it says about a
    /// result is no doctor's word.
    Program { account: AccountId },
}

impl Caller {
    pub(crate) const ROLES: &'static [Role] = Role::ALL;

    pub(crate) fn require(&self, roles: &[Role]) -> ApiResult<()> {
        if roles.contains(&self.role) {
            return Ok(());
        }
        Err(ApiError::because(Code::Forbidden, format!("this is not for the role {}", self.role)))
    }

    /// Only a person who signed in is present; a key is not.
    pub(crate) fn require_presence(&self) -> ApiResult<(AccountId, SessionId)> {
        match self.who {
            Who::Account { account, session } => Ok((account, session)),
            Who::Key(_) | Who::Gateway { .. } | Who::Program { .. } => {
                Err(ApiError::because(Code::Forbidden, "this is for a person who signed in, not for a key"))
            }
        }
    }

    pub(crate) fn require_scope(&self, method: &Method, route: &str) -> ApiResult<()> {
        if scope::cover(&self.scopes, method, route) {
            return Ok(());
        }
        Err(ApiError::because(Code::Forbidden, "the scopes of this key do not cover this"))
    }

    /// Patient identity is for those who treat patients or carry their images; who runs the
    /// service does not need it.
    pub(crate) fn sees_patients(&self) -> bool {
        Clinician::ROLES.contains(&self.role)
    }

    /// As events and the audit trail name him.
    pub(crate) fn actor(&self) -> String {
        match self.who {
            Who::Account { .. } | Who::Gateway { account: Some(_) } | Who::Program { .. } => {
                format!("account:{}", self.name)
            }
            Who::Gateway { account: None } => format!("gateway:{}", self.name),
            Who::Key(_) => format!("key:{}", self.name),
        }
    }

    /// Is this the account of that name, rather than a key or somebody else?
    pub(crate) fn is_account(&self, name: &str) -> bool {
        matches!(self.who, Who::Account { .. }) && self.name == name
    }

    /// The login name, where a person has one.
    pub(crate) fn account_name(&self) -> Option<String> {
        match self.who {
            Who::Account { .. } | Who::Gateway { account: Some(_) } => Some(self.name.clone()),
            Who::Key(_) | Who::Gateway { account: None } | Who::Program { .. } => None,
        }
    }

    pub(crate) fn counted_for(&self) -> CountedFor {
        match self.who {
            Who::Account { account, .. }
            | Who::Gateway { account: Some(account) }
            | Who::Program { account } => CountedFor::Account(account),
            Who::Gateway { account: None } => CountedFor::Gateway(self.name.clone()),
            Who::Key(key) => CountedFor::Key(key),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| ApiError::new(Code::Unauthenticated))
    }
}

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident = [$($role:ident),+]),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) struct $name(Caller);

        impl $name {
            pub(crate) const ROLES: &'static [Role] = &[$(Role::$role),+];

            #[allow(dead_code, reason = "not every permission outlives its request")]
            pub(crate) fn into_caller(self) -> Caller {
                self.0
            }
        }

        impl std::ops::Deref for $name {
            type Target = Caller;

            fn deref(&self) -> &Caller {
                &self.0
            }
        }

        impl<S: Sync> FromRequestParts<S> for $name {
            type Rejection = ApiError;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
                let caller = Caller::from_request_parts(parts, state).await?;
                caller.require(Self::ROLES)?;
                Ok(Self(caller))
            }
        }
    )+};
}

permissions! {
    /// May change accounts and keys.
    Admin = [Admin],
    /// May see studies, jobs and results, though perhaps not whose they are.
    Reader = [Admin, Doctor, Technician, Service],
    /// May hold images and results with the patient's identity in them.
    Clinician = [Doctor, Technician, Service],
    /// May start, stop and repeat work.
    Operator = [Admin, Doctor, Technician, Service],
}

/// A person who signed in; a key is nobody's presence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) caller: Caller,
    pub(crate) account: AccountId,
    pub(crate) session: SessionId,
}

impl<S: Sync> FromRequestParts<S> for Person {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let (account, session) = caller.require_presence()?;
        Ok(Self { caller, account, session })
    }
}

macro_rules! people {
    ($($(#[$doc:meta])* $name:ident = [$($role:ident),+]),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) struct $name(Person);

        impl $name {
            pub(crate) const ROLES: &'static [Role] = &[$(Role::$role),+];
        }

        impl std::ops::Deref for $name {
            type Target = Caller;

            fn deref(&self) -> &Caller {
                &self.0.caller
            }
        }

        impl<S: Sync> FromRequestParts<S> for $name {
            type Rejection = ApiError;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
                let person = Person::from_request_parts(parts, state).await?;
                person.caller.require(Self::ROLES)?;
                Ok(Self(person))
            }
        }
    )+};
}

people! {
    /// May decide about results; documents name him for ever.
    Doctor = [Doctor],
    /// May say whose images they are, where instances of a study disagree.
    Releaser = [Doctor, Technician],
}

impl Doctor {
    pub(crate) fn account(&self) -> AccountId {
        self.0.account
    }
}
