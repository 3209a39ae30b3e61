//! A sender made of bytes: what no well-behaved peer would send can be sent with it.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    time::Duration,
};

use rustix::net::{AddressFamily, SocketType};

pub(crate) const MR: &str = "1.2.840.10008.5.1.4.1.1.4";
pub(crate) const EXPLICIT: &str = "1.2.840.10008.1.2.1";

pub(crate) struct Raw {
    pub(crate) socket: TcpStream,
    next_message: u16,
    pub(crate) pdu_max: usize,
}

pub(crate) fn item(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, 0];
    out.extend_from_slice(&u16::try_from(content.len()).unwrap().to_be_bytes());
    out.extend_from_slice(content);
    out
}

pub(crate) fn pdu(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, 0];
    out.extend_from_slice(&u32::try_from(content.len()).unwrap().to_be_bytes());
    out.extend_from_slice(content);
    out
}

pub(crate) fn associate_rq(called: &str, sop_class: &str, transfer_syntax: &str) -> Vec<u8> {
    associate_rq_with(called, sop_class, transfer_syntax, &[])
}

/// With further items of user information, as [`item`] makes them.
pub(crate) fn associate_rq_with(
    called: &str,
    sop_class: &str,
    transfer_syntax: &str,
    user: &[u8],
) -> Vec<u8> {
    let mut content = vec![0, 1, 0, 0];
    content.extend_from_slice(format!("{called:16}{:16}", "RAW").as_bytes());
    content.extend_from_slice(&[0; 32]);
    content.extend(item(0x10, b"1.2.840.10008.3.1.1.1"));
    let context =
        [vec![1, 0, 0, 0], item(0x30, sop_class.as_bytes()), item(0x40, transfer_syntax.as_bytes())].concat();
    content.extend(item(0x20, &context));
    let user = [&item(0x51, &65536_u32.to_be_bytes())[..], &item(0x52, b"1.2.3"), user].concat();
    content.extend(item(0x50, &user));
    pdu(1, &content)
}

pub(crate) fn element(number: u16, value: &[u8]) -> Vec<u8> {
    let mut value = value.to_vec();
    value.resize(value.len().next_multiple_of(2), 0);
    let mut out = vec![0, 0];
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&u32::try_from(value.len()).unwrap().to_le_bytes());
    out.extend(value);
    out
}

pub(crate) fn store_rq(message: u16, sop_class: &str, sop_instance: &str) -> Vec<u8> {
    command(&[
        element(0x0002, sop_class.as_bytes()),
        element(0x0100, &1_u16.to_le_bytes()),
        element(0x0110, &message.to_le_bytes()),
        element(0x0700, &[0, 0]),
        element(0x0800, &1_u16.to_le_bytes()),
        element(0x1000, sop_instance.as_bytes()),
    ])
}

/// A command set of these elements, with its group length.
pub(crate) fn command(elements: &[Vec<u8>]) -> Vec<u8> {
    let body = elements.concat();
    [element(0, &u32::try_from(body.len()).unwrap().to_le_bytes()), body].concat()
}

/// One fragment in one P-DATA-TF.
pub(crate) fn p_data(flags: u8, fragment: &[u8]) -> Vec<u8> {
    let mut content = u32::try_from(fragment.len() + 2).unwrap().to_be_bytes().to_vec();
    content.extend_from_slice(&[1, flags]);
    content.extend_from_slice(fragment);
    pdu(4, &content)
}

/// A whole C-STORE request.
pub(crate) fn store_message(
    message: u16,
    sop_class: &str,
    sop_instance: &str,
    dataset: &[u8],
    pdu_max: usize,
) -> Vec<u8> {
    let mut out = p_data(3, &store_rq(message, sop_class, sop_instance));
    let mut chunks = dataset.chunks(pdu_max - 6).peekable();
    if chunks.peek().is_none() {
        out.extend(p_data(2, &[]));
    }
    while let Some(chunk) = chunks.next() {
        out.extend(p_data(if chunks.peek().is_some() { 0 } else { 2 }, chunk));
    }
    out
}

impl Raw {
    pub(crate) fn connect(address: &str) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// From an address of our choice, so that the listener takes us for another peer.
    pub(crate) fn connect_from(source: Ipv4Addr, address: &str) -> Self {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &SocketAddrV4::new(source, 0)).unwrap();
        rustix::net::connect(&socket, &address.parse::<SocketAddrV4>().unwrap()).unwrap();
        Self::over(TcpStream::from(socket))
    }

    fn over(socket: TcpStream) -> Self {
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { socket, next_message: 1, pdu_max: 16384 }
    }

    #[track_caller]
    pub(crate) fn associate(address: &str, sop_class: &str, transfer_syntax: &str) -> Self {
        Self::connect(address).associated(sop_class, transfer_syntax)
    }

    #[track_caller]
    pub(crate) fn associated(mut self, sop_class: &str, transfer_syntax: &str) -> Self {
        self.send(&associate_rq("OVERREAD", sop_class, transfer_syntax));
        let (kind, content) = self.receive().unwrap();
        assert_eq!(kind, 2, "the association was not accepted: {content:?}");
        self
    }

    /// All that still comes, until the listener closes the connection.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.socket.read_to_end(&mut bytes).unwrap();
        bytes
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    pub(crate) fn receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut header = [0; 6];
        self.socket.read_exact(&mut header)?;
        let mut content = vec![0; u32::from_be_bytes(header[2..].try_into().unwrap()) as usize];
        self.socket.read_exact(&mut content)?;
        Ok((header[0], content))
    }

    /// The status of the answer.
    pub(crate) fn status(&mut self) -> io::Result<u16> {
        let (kind, content) = self.receive()?;
        if kind != 4 {
            return Err(io::Error::other(format!("a PDU of type {kind}")));
        }
        let mut command = &content[6..];
        while command.len() >= 8 {
            let length = u32::from_le_bytes(command[4..8].try_into().unwrap()) as usize;
            if command[2..4] == [0x00, 0x09] {
                return Ok(u16::from_le_bytes([command[8], command[9]]));
            }
            command = &command[8 + length..];
        }
        Err(io::Error::other("an answer without a status"))
    }

    pub(crate) fn store(&mut self, sop_class: &str, sop_instance: &str, dataset: &[u8]) -> io::Result<u16> {
        let message = store_message(self.next_message, sop_class, sop_instance, dataset, self.pdu_max);
        self.next_message += 1;
        self.socket.write_all(&message)?;
        self.status()
    }

    /// Stores an instance that is never whole in memory: [`head`], then so many bytes of pixels.
    pub(crate) fn store_streamed(&mut self, sop_instance: &str, pixels: u32) -> io::Result<u16> {
        self.socket.write_all(&p_data(3, &store_rq(self.next_message, MR, sop_instance)))?;
        self.socket.write_all(&p_data(0, &head(sop_instance, pixels)))?;
        self.next_message += 1;
        let chunk = vec![0x5A; self.pdu_max - 6];
        let mut left = pixels as usize;
        while left > 0 {
            let count = left.min(chunk.len());
            left -= count;
            self.socket.write_all(&p_data(if left == 0 { 2 } else { 0 }, &chunk[..count]))?;
        }
        self.status()
    }

    pub(crate) fn release(mut self) {
        self.send(&pdu(5, &[0; 4]));
        assert_eq!(self.receive().unwrap().0, 6);
    }
}

/// A small MR data set, explicit little endian, of a given size.
pub(crate) fn dataset(sop_instance: &str, pixels: usize) -> Vec<u8> {
    let mut out = head(sop_instance, u32::try_from(pixels).unwrap());
    let seed = sop_instance.bytes().map(usize::from).sum::<usize>();
    out.extend((0..pixels).map(|index| ((index + seed) % 251) as u8));
    out
}

/// A data set up to where the bytes of its pixels begin.
fn head(sop_instance: &str, pixels: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    for (group, number, vr, value) in [
        (0x0008_u16, 0x0016_u16, b"UI", MR),
        (0x0008, 0x0018, b"UI", sop_instance),
        (0x0008, 0x0060, b"CS", "MR"),
        (0x0010, 0x0010, b"PN", "Test^Patient"),
        (0x0010, 0x0020, b"LO", "T1"),
        (0x0020, 0x000D, b"UI", "1.2.3.1"),
        (0x0020, 0x000E, b"UI", "1.2.3.2"),
    ] {
        let mut value = value.as_bytes().to_vec();
        value.resize(value.len().next_multiple_of(2), if vr == b"UI" { 0 } else { b' ' });
        out.extend_from_slice(&group.to_le_bytes());
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(vr);
        out.extend_from_slice(&u16::try_from(value.len()).unwrap().to_le_bytes());
        out.extend_from_slice(&value);
    }
    out.extend_from_slice(&[0xE0, 0x7F, 0x10, 0, b'O', b'W', 0, 0]);
    out.extend_from_slice(&pixels.to_le_bytes());
    out
}

/// Transfer syntax and data set of a file with or without meta information, by hand.
pub(crate) fn split(bytes: &[u8]) -> (Option<String>, Vec<u8>) {
    if bytes.get(128..132) != Some(b"DICM") {
        return (None, bytes.to_vec());
    }
    let (mut at, mut syntax) = (132, None);
    while bytes.get(at..at + 2) == Some(&[2, 0]) {
        let long = matches!(&bytes[at + 4..at + 6], b"OB" | b"UN" | b"OW" | b"SQ" | b"UT");
        let (length, start) = if long {
            (u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize, at + 12)
        } else {
            (usize::from(u16::from_le_bytes([bytes[at + 6], bytes[at + 7]])), at + 8)
        };
        if bytes[at + 2..at + 4] == [0x10, 0] {
            let text = String::from_utf8_lossy(&bytes[start..start + length]).into_owned();
            syntax = Some(text.trim_end_matches(['\0', ' ']).to_owned());
        }
        at = start + length;
    }
    (syntax, bytes[at..].to_vec())
}
