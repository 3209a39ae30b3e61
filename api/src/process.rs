//! What this process uses, read from `/proc` when somebody asks.

use std::{fs, io};

/// Figures of this process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_bytes: u64,
    pub(crate) open_files: u64,
    /// Unix time, in seconds.
    pub(crate) started_at: f64,
}

/// Blocking, for some hundred microseconds.
pub(crate) fn usage() -> io::Result<Usage> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let statm = fs::read_to_string("/proc/self/statm")?;
    let boot = boot_time(&fs::read_to_string("/proc/stat")?)?;
    let open_files = fs::read_dir("/proc/self/fd")?.count() as u64;
    let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
    let ticks = Ticks::parse(&stat)?;
    let pages: u64 = field(&mut statm.split_ascii_whitespace(), 1)?;
    Ok(Usage {
        cpu_seconds: (ticks.user + ticks.system) as f64 / ticks_per_second,
        resident_bytes: pages * rustix::param::page_size() as u64,
        // The folder that is being read is open too.
        open_files: open_files.saturating_sub(1),
        started_at: boot as f64 + ticks.start as f64 / ticks_per_second,
    })
}

struct Ticks {
    user: u64,
    system: u64,
    start: u64,
}

impl Ticks {
    /// proc(5): the second field is a name in parentheses that may hold anything, so the
    /// fields are counted behind its end: 14 utime, 15 stime, 22 starttime.
    fn parse(stat: &str) -> io::Result<Self> {
        let behind = stat.rsplit_once(')').map(|(_, behind)| behind).ok_or_else(strange)?;
        let mut fields = behind.split_ascii_whitespace();
        Ok(Self {
            user: field(&mut fields, 11)?,
            system: field(&mut fields, 0)?,
            start: field(&mut fields, 6)?,
        })
    }
}

fn boot_time(stat: &str) -> io::Result<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("btime ")).ok_or_else(strange)?;
    line.trim().parse().map_err(|_| strange())
}

/// The field that comes after `skip` others.
fn field<'a>(fields: &mut impl Iterator<Item = &'a str>, skip: usize) -> io::Result<u64> {
    fields.nth(skip).and_then(|text| text.parse().ok()).ok_or_else(strange)
}

fn strange() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "/proc does not look as proc(5) says")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_behind_a_name_with_parentheses() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 111 22 13 14 15 16 17 18 1900 20";
        let ticks = Ticks::parse(stat).unwrap();
        assert_eq!((ticks.user, ticks.system, ticks.start), (111, 22, 1900));
    }

    #[test]
    fn this_process_uses_something() {
        let usage = usage().unwrap();
        assert!(usage.resident_bytes > 1 << 20, "{usage:?}");
        assert!(usage.open_files >= 3, "{usage:?}");
        assert!(usage.started_at > 1.6e9, "{usage:?}");
    }
}
