//! One connection: bytes in and out with deadlines, plain or TLS, blocking.
//!
//! Headers are read through a small buffer; the content of fragments goes straight to
//! where it is wanted. TCP_NODELAY is on, every answer is one write, and TCP_QUICKACK is
//! armed again before each wait: with a sender that has Nagle's algorithm on, a delayed
//! acknowledgement would stall every instance by 40 ms.

use std::{
    io::{self, IoSliceMut, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    net::{RecvAncillaryBuffer, RecvFlags, recvmsg},
};
use tokio_util::sync::CancellationToken;

use crate::pdu::{PDU_HEADER_BYTES, PDV_HEADER_BYTES, PdvHeader};

const BUFFER_BYTES: usize = 4096;
/// How often a thread that waits for a peer looks at the clock and for the end of the service.
const TICK: Duration = Duration::from_millis(200);

/// Why a connection cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("the peer closed the connection")]
    Closed,
    #[error("the peer took longer than allowed for {0}")]
    TimedOut(Wait),
    #[error("the service is shutting down")]
    ShuttingDown,
    #[error("the connection failed")]
    Io(#[source] io::Error),
}

/// What was being waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    Association,
    Message,
    RestOfPdu,
    RestOfMessage,
    Answer,
    Write,
}

impl std::fmt::Display for Wait {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Association => "the association request or its end",
            Self::Message => "the next message",
            Self::RestOfPdu => "the rest of a PDU",
            Self::RestOfMessage => "the rest of a message",
            Self::Answer => "an answer",
            Self::Write => "taking what was sent",
        })
    }
}

/// Until when, and what for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    at: Instant,
    wait: Wait,
}

impl Deadline {
    pub(crate) fn after(duration: Duration, wait: Wait) -> Self {
        Self { at: Instant::now() + duration, wait }
    }

    /// Whichever comes first.
    pub(crate) fn or(self, other: Self) -> Self {
        if other.at < self.at { other } else { self }
    }

    fn check(self) -> Result<(), WireError> {
        if Instant::now() < self.at { Ok(()) } else { Err(WireError::TimedOut(self.wait)) }
    }
}

pub(crate) trait Duplex: Read + Write + Send {}
impl<T: Read + Write + Send> Duplex for T {}

enum Stream {
    Plain,
    Tls(Box<dyn Duplex>),
}

pub(crate) struct Wire {
    tcp: TcpStream,
    stream: Stream,
    buffer: Box<[u8; BUFFER_BYTES]>,
    start: usize,
    end: usize,
    write_timeout: Duration,
    shutdown: CancellationToken,
}

impl Wire {
    /// # Errors
    /// When the socket takes no options.
    pub(crate) fn plain(
        tcp: TcpStream,
        write_timeout: Duration,
        shutdown: CancellationToken,
    ) -> io::Result<Self> {
        Self::new(tcp, Stream::Plain, write_timeout, shutdown)
    }

    /// `stream` carries TLS over a clone of `tcp`.
    ///
    /// # Errors
    /// When the socket takes no options.
    pub(crate) fn tls(
        tcp: TcpStream,
        stream: Box<dyn Duplex>,
        write_timeout: Duration,
        shutdown: CancellationToken,
    ) -> io::Result<Self> {
        Self::new(tcp, Stream::Tls(stream), write_timeout, shutdown)
    }

    fn new(
        tcp: TcpStream,
        stream: Stream,
        write_timeout: Duration,
        shutdown: CancellationToken,
    ) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(TICK))?;
        tcp.set_write_timeout(Some(TICK))?;
        let buffer = Box::new([0; BUFFER_BYTES]);
        Ok(Self { tcp, stream, buffer, start: 0, end: 0, write_timeout, shutdown })
    }

    /// Waits for a PDU: its type byte and length. The service may end while nothing has come.
    pub(crate) fn next_pdu(&mut self, idle: Deadline, rest: Deadline) -> Result<(u8, u32), WireError> {
        self.wait_for_pdu(idle)?;
        self.pdu_header(rest)
    }

    /// Waits for the first byte of a PDU. The service may end meanwhile.
    pub(crate) fn wait_for_pdu(&mut self, idle: Deadline) -> Result<(), WireError> {
        if self.start == self.end {
            self.fill(idle, Interrupt::ByShutdown)?;
        }
        Ok(())
    }

    /// Type byte and length of a PDU that is on its way: the end of the service does not break off what was begun.
    pub(crate) fn pdu_header(&mut self, deadline: Deadline) -> Result<(u8, u32), WireError> {
        let header: [u8; PDU_HEADER_BYTES] = self.header(deadline)?;
        Ok((header[0], u32::from_be_bytes([header[2], header[3], header[4], header[5]])))
    }

    pub(crate) fn pdv_header(&mut self, deadline: Deadline) -> Result<[u8; PDV_HEADER_BYTES], WireError> {
        self.header(deadline)
    }

    fn header<const LENGTH: usize>(&mut self, deadline: Deadline) -> Result<[u8; LENGTH], WireError> {
        while self.end - self.start < LENGTH {
            self.fill(deadline, Interrupt::Never)?;
        }
        let mut header = [0; LENGTH];
        header.copy_from_slice(&self.buffer[self.start..self.start + LENGTH]);
        self.start += LENGTH;
        Ok(header)
    }

    /// Puts at least one byte into `room`, which is not empty.
    pub(crate) fn read_some(&mut self, room: &mut [u8], deadline: Deadline) -> Result<usize, WireError> {
        if self.start < self.end {
            let count = room.len().min(self.end - self.start);
            room[..count].copy_from_slice(&self.buffer[self.start..self.start + count]);
            self.start += count;
            return Ok(count);
        }
        let length = room.len();
        let count = self.receive(room, deadline)?;
        if count > length {
            (self.start, self.end) = (0, count - length);
        }
        Ok(count.min(length))
    }

    pub(crate) fn read_exact(&mut self, mut room: &mut [u8], deadline: Deadline) -> Result<(), WireError> {
        while !room.is_empty() {
            let count = self.read_some(room, deadline)?;
            room = &mut room[count..];
        }
        Ok(())
    }

    /// Passes over `count` bytes.
    pub(crate) fn skip(&mut self, mut count: u64, deadline: Deadline) -> Result<(), WireError> {
        let mut waste = [0; 8192];
        while count > 0 {
            let room = usize::try_from(count).unwrap_or(usize::MAX).min(waste.len());
            count -= self.read_some(&mut waste[..room], deadline)? as u64;
        }
        Ok(())
    }

    fn fill(&mut self, deadline: Deadline, interrupt: Interrupt) -> Result<(), WireError> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let Self { tcp, stream, buffer, end, shutdown, .. } = self;
        let room = &mut buffer[*end..];
        *end += attempt(shutdown, deadline, interrupt, || match stream {
            Stream::Plain => read_plain(tcp, &mut [IoSliceMut::new(room)]),
            Stream::Tls(stream) => read_tls(tcp, stream.as_mut(), room),
        })?;
        Ok(())
    }

    /// One read into `room`; what comes beyond goes to the buffer, which is empty, and is counted, too.
    fn receive(&mut self, room: &mut [u8], deadline: Deadline) -> Result<usize, WireError> {
        let Self { tcp, stream, buffer, shutdown, .. } = self;
        attempt(shutdown, deadline, Interrupt::Never, || match stream {
            Stream::Plain => {
                read_plain(tcp, &mut [IoSliceMut::new(room), IoSliceMut::new(buffer.as_mut_slice())])
            }
            Stream::Tls(stream) => read_tls(tcp, stream.as_mut(), room),
        })
    }

    /// Sends all of `bytes`.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> Result<(), WireError> {
        let mut deadline = Deadline::after(self.write_timeout, Wait::Write);
        while !bytes.is_empty() {
            deadline.check()?;
            let written = match &mut self.stream {
                Stream::Plain => (&self.tcp).write(bytes),
                Stream::Tls(stream) => stream.write(bytes),
            };
            match written {
                Ok(0) => return Err(WireError::Closed),
                Ok(count) => {
                    bytes = &bytes[count..];
                    deadline = Deadline::after(self.write_timeout, Wait::Write);
                }
                Err(error) if is_tick(&error) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        self.flush(deadline)
    }

    fn flush(&mut self, deadline: Deadline) -> Result<(), WireError> {
        let Stream::Tls(stream) = &mut self.stream else { return Ok(()) };
        loop {
            match stream.flush() {
                Ok(()) => return Ok(()),
                Err(error) if is_tick(&error) => deadline.check()?,
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// PS3.8 §9.1.5: whoever answered a release or aborted waits for the other side to close.
    pub(crate) fn wait_for_close(&mut self, deadline: Deadline) {
        loop {
            (self.start, self.end) = (0, 0);
            if self.fill(deadline, Interrupt::ByShutdown).is_err() {
                return;
            }
        }
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Wire").field("tcp", &self.tcp).finish_non_exhaustive()
    }
}

/// Whether the end of the service ends a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interrupt {
    ByShutdown,
    Never,
}

/// Reads once, however many ticks it takes.
fn attempt(
    shutdown: &CancellationToken,
    deadline: Deadline,
    interrupt: Interrupt,
    mut read: impl FnMut() -> io::Result<usize>,
) -> Result<usize, WireError> {
    loop {
        deadline.check()?;
        if interrupt == Interrupt::ByShutdown && shutdown.is_cancelled() {
            return Err(WireError::ShuttingDown);
        }
        match read() {
            Ok(0) => return Err(WireError::Closed),
            Ok(count) => return Ok(count),
            Err(error) if is_tick(&error) => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

/// What is there is taken at once; only a wait needs the acknowledgement hurried.
fn read_plain(mut tcp: &TcpStream, room: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    match recvmsg(tcp, room, &mut RecvAncillaryBuffer::default(), RecvFlags::DONTWAIT) {
        Ok(received) => Ok(received.bytes),
        Err(Errno::AGAIN) => {
            acknowledge_quickly(tcp);
            tcp.read_vectored(room)
        }
        Err(error) => Err(error.into()),
    }
}

fn read_tls(tcp: &TcpStream, stream: &mut dyn Duplex, room: &mut [u8]) -> io::Result<usize> {
    acknowledge_quickly(tcp);
    stream.read(room)
}

#[cfg(target_os = "linux")]
fn acknowledge_quickly(tcp: &TcpStream) {
    // Only speed depends on it, and a socket that is broken says so when it is read.
    let _ = rustix::net::sockopt::set_tcp_quickack(tcp, true);
}

#[cfg(not(target_os = "linux"))]
fn acknowledge_quickly(_: &TcpStream) {}

fn is_tick(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

fn failed(error: io::Error) -> WireError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            WireError::Closed
        }
        _ => WireError::Io(error),
    }
}

/// Reads one fragment's header off a PDU of which `left` bytes remain; `None` when they cannot be one.
pub(crate) fn next_fragment(
    wire: &mut Wire,
    left: &mut u32,
    deadline: Deadline,
) -> Result<Option<PdvHeader>, WireError> {
    let Some(after) = left.checked_sub(PDV_HEADER_BYTES as u32) else { return Ok(None) };
    let Ok(header) = PdvHeader::decode(wire.pdv_header(deadline)?) else { return Ok(None) };
    let Some(rest) = after.checked_sub(header.bytes) else { return Ok(None) };
    *left = rest;
    Ok(Some(header))
}
