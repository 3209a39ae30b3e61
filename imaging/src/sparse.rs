//! Records of which most fields are empty: written, they hold only what is there.
//!
//! A header has some fifty facts, of which most instances state less than half. The ledger keeps one for each instance.

/// A struct whose fields are left out of its written form where they have their default; `#[serde(default)]`
/// on it reads them back.
macro_rules! sparse {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $kind:ty,)* }) => {
        $(#[$meta])*
        pub struct $name {
            $($(#[$field_meta])* #[serde(skip_serializing_if = "crate::sparse::is_default")] pub $field: $kind,)*
        }
    };
}

pub(crate) use sparse;

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
