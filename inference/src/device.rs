//! What computes, and who may use it next.

use std::{
    fmt,
    str::FromStr,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::control::Urgency;

/// Where graphs are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Device {
    #[default]
    Cpu,
    Cuda(u16),
    TensorRt(u16),
    OpenVino,
}

/// A word that names no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no device: expected cpu, cuda, cuda:N, tensorrt, tensorrt:N or openvino")]
pub struct NotADevice(String);

impl FromStr for Device {
    type Err = NotADevice;

    fn from_str(text: &str) -> Result<Self, NotADevice> {
        let (kind, number) = match text.split_once(':') {
            Some((kind, number)) => (kind, number.parse().map_err(|_| NotADevice(text.to_owned()))?),
            None => (text, 0),
        };
        match kind {
            "cpu" if kind == text => Ok(Self::Cpu),
            "openvino" if kind == text => Ok(Self::OpenVino),
            "cuda" => Ok(Self::Cuda(number)),
            "tensorrt" => Ok(Self::TensorRt(number)),
            _ => Err(NotADevice(text.to_owned())),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(number) => write!(formatter, "cuda:{number}"),
            Self::TensorRt(number) => write!(formatter, "tensorrt:{number}"),
            Self::OpenVino => formatter.write_str("openvino"),
        }
    }
}

/// Lets one run at a time onto a device, for one window at a time.
///
/// A run asks again before each window; one that a person waits for goes first, and
/// among equals who came first goes first. So a long run yields within one window and
/// two long ones take turns.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    queue: Mutex<Queue>,
    left: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    busy: bool,
    next_ticket: u64,
    interactive: std::collections::VecDeque<u64>,
    background: std::collections::VecDeque<u64>,
}

impl Queue {
    fn line(&mut self, urgency: Urgency) -> &mut std::collections::VecDeque<u64> {
        match urgency {
            Urgency::Interactive => &mut self.interactive,
            Urgency::Background => &mut self.background,
        }
    }

    fn first(&self) -> Option<u64> {
        self.interactive.front().or(self.background.front()).copied()
    }
}

/// The device is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a>(&'a Gate);

impl Gate {
    pub(crate) fn enter(&self, urgency: Urgency) -> Turn<'_> {
        let mut queue = self.lock();
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        queue.line(urgency).push_back(ticket);
        while queue.busy || queue.first() != Some(ticket) {
            queue = self.left.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.line(urgency).pop_front();
        queue.busy = true;
        Turn(self)
    }

    /// A panic elsewhere leaves the queue whole: each change is one assignment.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().busy = false;
        self.0.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    impl Gate {
        fn waiting(&self) -> usize {
            let queue = self.lock();
            queue.interactive.len() + queue.background.len()
        }
    }

    #[test]
    fn devices_have_one_spelling() {
        for text in ["cpu", "cuda:0", "cuda:3", "tensorrt:1", "openvino"] {
            assert_eq!(text.parse::<Device>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
        for bad in ["", "gpu", "cpu:1", "cuda:x", "cuda:-1"] {
            assert!(bad.parse::<Device>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_person_who_waits_goes_before_longer_queued_background_work() {
        let gate = Arc::new(Gate::default());
        let order = Arc::new(Mutex::new(Vec::new()));
        let running = gate.enter(Urgency::Background);
        let mut threads = Vec::new();
        for (waiting, (name, urgency)) in [
            ("first", Urgency::Background),
            ("second", Urgency::Background),
            ("person", Urgency::Interactive),
        ]
        .into_iter()
        .enumerate()
        {
            let (shared, order) = (Arc::clone(&gate), Arc::clone(&order));
            threads.push(std::thread::spawn(move || {
                let turn = shared.enter(urgency);
                order.lock().unwrap().push(name);
                drop(turn);
            }));
            while gate.waiting() <= waiting {
                std::thread::yield_now();
            }
        }
        drop(running);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*order.lock().unwrap(), ["person", "first", "second"]);
    }
}
