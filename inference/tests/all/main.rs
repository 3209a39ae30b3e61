//! The crate from outside: packages on disk, real ONNX Runtime, references made in Python.

#[cfg(test)]
mod bad_packages;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod geometry;
#[cfg(test)]
mod members;
#[cfg(test)]
mod parity;
#[cfg(test)]
mod registry;
#[cfg(test)]
mod routing;
#[cfg(test)]
mod running;
