//! Sequential JPEG of 12 bits, one component (ISO 10918-1, process 4).
//!
//! The general decoder knows 8 bits only; scanned film and old fluoroscopy come in 12. Nothing
//! else is decoded here: no colour, no progressive or arithmetic coding.

/// The codestream, or why it cannot be decoded.
type Result<T> = std::result::Result<T, &'static str>;

const START_OF_FRAME: u8 = 0xc1;
const HUFFMAN_TABLES: u8 = 0xc4;
const START_OF_SCAN: u8 = 0xda;
const QUANTISATION: u8 = 0xdb;
const RESTART_INTERVAL: u8 = 0xdd;
const PRECISION: u8 = 12;
const LARGEST: f64 = 4095.0;

/// Where the n-th coefficient of a block lies, row by row (Figure A.6).
const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Whether this is a codestream for this decoder.
pub(crate) fn is_twelve_bit(codestream: &[u8]) -> bool {
    segments(codestream).any(|(marker, body)| marker == START_OF_FRAME && body.first() == Some(&PRECISION))
}

/// The samples of an image of `columns` × `rows`, little endian words.
pub(crate) fn decode(codestream: &[u8], columns: usize, rows: usize) -> Result<Vec<u8>> {
    let mut decoder = Decoder::new(columns, rows);
    for (marker, body) in segments(codestream) {
        match marker {
            START_OF_FRAME => decoder.frame(body)?,
            HUFFMAN_TABLES => decoder.huffman(body)?,
            QUANTISATION => decoder.quantisation(body)?,
            RESTART_INTERVAL => {
                decoder.restart = usize::from(word(body, 0).ok_or("a restart interval is cut")?);
            }
            START_OF_SCAN => return decoder.scan(body, behind(codestream, body)),
            _ => {}
        }
    }
    Err("there is no scan")
}

/// The marker segments up to the first scan.
fn segments(codestream: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut at = 2;
    let mut is_last = false;
    std::iter::from_fn(move || {
        while codestream.get(at) == Some(&0xff) && codestream.get(at + 1) == Some(&0xff) {
            at += 1;
        }
        let marker = *codestream.get(at + 1).filter(|_| codestream[at] == 0xff && !is_last)?;
        let length = usize::from(word(codestream, at + 2)?);
        let body = codestream.get(at + 4..at + 2 + length)?;
        at += 2 + length;
        is_last = marker == START_OF_SCAN;
        Some((marker, body))
    })
}

/// What follows `body`, which is a part of `codestream`.
fn behind<'a>(codestream: &'a [u8], body: &[u8]) -> &'a [u8] {
    let start = body.as_ptr() as usize - codestream.as_ptr() as usize;
    &codestream[start + body.len()..]
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

struct Decoder {
    columns: usize,
    rows: usize,
    has_frame: bool,
    quantisation_table: usize,
    quantisations: [[f64; 64]; 4],
    dc_tables: [Huffman; 4],
    ac_tables: [Huffman; 4],
    /// Blocks between restart markers; 0 without any.
    restart: usize,
}

impl Decoder {
    fn new(columns: usize, rows: usize) -> Self {
        Self {
            columns,
            rows,
            has_frame: false,
            quantisation_table: 0,
            quantisations: [[0.0; 64]; 4],
            dc_tables: Default::default(),
            ac_tables: Default::default(),
            restart: 0,
        }
    }

    /// §B.2.2
    fn frame(&mut self, body: &[u8]) -> Result<()> {
        let [PRECISION, r0, r1, c0, c1, 1, _, _, table] = *body else {
            return Err("it is no grey 12 bit frame");
        };
        let size = (usize::from(u16::from_be_bytes([c0, c1])), usize::from(u16::from_be_bytes([r0, r1])));
        if size != (self.columns, self.rows) {
            return Err("the codestream has another size than the image");
        }
        self.quantisation_table = usize::from(table & 3);
        self.has_frame = true;
        Ok(())
    }

    /// §B.2.4.1
    fn quantisation(&mut self, mut body: &[u8]) -> Result<()> {
        while let Some((&head, rest)) = body.split_first() {
            let width = if head >> 4 == 0 { 1 } else { 2 };
            let (values, rest) = rest.split_at_checked(64 * width).ok_or("a quantisation table is cut")?;
            let table = &mut self.quantisations[usize::from(head & 3)];
            for (value, place) in values.chunks_exact(width).zip(ZIGZAG) {
                table[place] = value.iter().fold(0.0, |value, byte| value * 256.0 + f64::from(*byte));
            }
            body = rest;
        }
        Ok(())
    }

    /// §B.2.4.2
    fn huffman(&mut self, mut body: &[u8]) -> Result<()> {
        while let Some((&head, rest)) = body.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or("a Huffman table is cut")?;
            let total = counts.iter().map(|count| usize::from(*count)).sum();
            let (symbols, rest) = rest.split_at_checked(total).ok_or("a Huffman table is cut")?;
            let tables = if head >> 4 == 0 { &mut self.dc_tables } else { &mut self.ac_tables };
            tables[usize::from(head & 3)] = Huffman::new(counts, symbols);
            body = rest;
        }
        Ok(())
    }

    /// §F.2.1: blocks from left to right, from top to bottom.
    fn scan(&self, body: &[u8], entropy: &[u8]) -> Result<Vec<u8>> {
        let [1, _, tables, ..] = *body else { return Err("it is no scan of one component") };
        if !self.has_frame {
            return Err("a scan comes before its frame");
        }
        let (dc, ac) =
            (&self.dc_tables[usize::from(tables >> 4 & 3)], &self.ac_tables[usize::from(tables & 3)]);
        let quantisation = &self.quantisations[self.quantisation_table];
        let cosines = cosines();
        let mut bits = Bits { bytes: entropy, buffer: 0, count: 0 };
        let mut out = vec![0; self.columns * self.rows * 2];
        let mut predicted = 0_i32;
        let blocks_across = self.columns.div_ceil(8);
        for block in 0..blocks_across * self.rows.div_ceil(8) {
            if self.restart > 0 && block > 0 && block % self.restart == 0 {
                bits.restart()?;
                predicted = 0;
            }
            let mut coefficients = [0.0; 64];
            // Far outside any sample already: a damaged stream, whose values are cut off below.
            predicted = predicted.saturating_add(dc.difference(&mut bits)?);
            coefficients[0] = f64::from(predicted) * quantisation[0];
            ac.fill(&mut bits, &mut coefficients, quantisation)?;
            let corner = (block % blocks_across * 8, block / blocks_across * 8);
            self.place(&inverse(&coefficients, &cosines), corner, &mut out);
        }
        Ok(out)
    }

    fn place(&self, block: &[f64; 64], (left, top): (usize, usize), out: &mut [u8]) {
        for (index, value) in block.iter().enumerate() {
            let (column, row) = (left + index % 8, top + index / 8);
            if column < self.columns && row < self.rows {
                // §A.3.1: samples are centred on half of their range.
                let sample = (value + 2048.0).round().clamp(0.0, LARGEST) as u16;
                let at = (row * self.columns + column) * 2;
                out[at..at + 2].copy_from_slice(&sample.to_le_bytes());
            }
        }
    }
}

/// §A.3.3: the cosines of the transform, scaled.
fn cosines() -> [[f64; 8]; 8] {
    std::array::from_fn(|place| {
        std::array::from_fn(|frequency| {
            let scale = if frequency == 0 { 0.5_f64.sqrt() } else { 1.0 };
            let angle = (2 * place + 1) as f64 * frequency as f64 * std::f64::consts::PI / 16.0;
            scale * angle.cos() / 2.0
        })
    })
}

fn inverse(coefficients: &[f64; 64], cosines: &[[f64; 8]; 8]) -> [f64; 64] {
    let mut rows = [0.0; 64];
    for v in 0..8 {
        for x in 0..8 {
            rows[v * 8 + x] = (0..8).map(|u| coefficients[v * 8 + u] * cosines[x][u]).sum();
        }
    }
    std::array::from_fn(|index| {
        let (x, y) = (index % 8, index / 8);
        (0..8).map(|v| rows[v * 8 + x] * cosines[y][v]).sum()
    })
}

/// Codes by length: the first code and the first symbol of each (Annex C).
#[derive(Default)]
struct Huffman {
    first_code: [u32; 16],
    first_symbol: [usize; 16],
    counts: [u32; 16],
    symbols: Vec<u8>,
}

impl Huffman {
    fn new(counts: &[u8; 16], symbols: &[u8]) -> Self {
        let mut table = Self { symbols: symbols.to_vec(), ..Self::default() };
        let (mut code, mut symbol) = (0_u32, 0);
        for (length, count) in counts.iter().enumerate() {
            table.first_code[length] = code;
            table.first_symbol[length] = symbol;
            table.counts[length] = u32::from(*count);
            symbol += usize::from(*count);
            code = (code + u32::from(*count)) << 1;
        }
        table
    }

    fn symbol(&self, bits: &mut Bits<'_>) -> Result<u8> {
        let mut code = 0;
        for length in 0..16 {
            code = code << 1 | bits.take(1)?;
            let offset = code.wrapping_sub(self.first_code[length]);
            if offset < self.counts[length] {
                return Ok(self.symbols[self.first_symbol[length] + offset as usize]);
            }
        }
        Err("a code is in no Huffman table")
    }

    /// §F.2.2.1
    fn difference(&self, bits: &mut Bits<'_>) -> Result<i32> {
        match self.symbol(bits)? {
            size @ 0..=15 => bits.signed(size.into()),
            _ => Err("a difference has more than 15 bits"),
        }
    }

    /// §F.2.2.2
    fn fill(
        &self,
        bits: &mut Bits<'_>,
        coefficients: &mut [f64; 64],
        quantisation: &[f64; 64],
    ) -> Result<()> {
        let mut at = 1;
        while at < 64 {
            let symbol = self.symbol(bits)?;
            let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            match (run, size) {
                (15, 0) => at += 16,
                (_, 0) => break,
                _ => {
                    at += run;
                    let place = *ZIGZAG.get(at).ok_or("a run leaves the block")?;
                    coefficients[place] = f64::from(bits.signed(size)?) * quantisation[place];
                    at += 1;
                }
            }
        }
        Ok(())
    }
}

struct Bits<'a> {
    bytes: &'a [u8],
    buffer: u32,
    count: u32,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> Result<u32> {
        while self.count < count {
            let byte = match self.bytes {
                // §B.1.1.5: a zero is stuffed behind 0xFF.
                [0xff, 0x00, rest @ ..] => {
                    self.bytes = rest;
                    0xff
                }
                [0xff, ..] | [] => return Err("the codestream ends early"),
                [byte, rest @ ..] => {
                    self.bytes = rest;
                    *byte
                }
            };
            self.buffer = self.buffer << 8 | u32::from(byte);
            self.count += 8;
        }
        self.count -= count;
        Ok(self.buffer >> self.count & ((1 << count) - 1))
    }

    /// Table F.1: `size` bits, negative when the first is 0.
    fn signed(&mut self, size: u32) -> Result<i32> {
        if size == 0 {
            return Ok(0);
        }
        let value = self.take(size)?.cast_signed();
        Ok(if value < 1 << (size - 1) { value - (1 << size) + 1 } else { value })
    }

    /// §F.2.1.3.1: the next marker is a restart; bits before it are padding.
    fn restart(&mut self) -> Result<()> {
        (self.buffer, self.count) = (0, 0);
        let marker = self.bytes.windows(2).position(|pair| pair[0] == 0xff && matches!(pair[1], 0xd0..=0xd7));
        let at = marker.ok_or("a restart marker is missing")?;
        self.bytes = &self.bytes[at + 2..];
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_or_foreign_codestream_is_refused() {
        assert!(!is_twelve_bit(b""));
        assert!(!is_twelve_bit(&[0xff, 0xd8, 0xff, 0xc0, 0, 11, 8, 0, 8, 0, 8, 1, 1, 0x11, 0]));
        let frame = [0xff, 0xd8, 0xff, 0xc1, 0, 11, 12, 0, 8, 0, 8, 1, 1, 0x11, 0];
        assert!(is_twelve_bit(&frame));
        assert_eq!(decode(&frame, 8, 8), Err("there is no scan"));
        assert_eq!(decode(&frame, 8, 9), Err("the codestream has another size than the image"));
        let scan = [&frame[..], &[0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0]].concat();
        assert_eq!(decode(&scan, 8, 8), Err("the codestream ends early"));
    }

    #[test]
    fn a_flat_block_has_the_value_of_its_first_coefficient() {
        let tables = [
            // Quantisation of 1 throughout; code 0 stands for eight bits, and for end of block.
            &[0xff, 0xdb, 0, 67, 0][..],
            &[1; 64],
            &[0xff, 0xc4, 0, 20, 0x00, 1],
            &[0; 15],
            &[8],
            &[0xff, 0xc4, 0, 20, 0x10, 1],
            &[0; 15],
            &[0],
        ];
        let frame = [0xff, 0xc1, 0, 11, 12, 0, 8, 0, 8, 1, 1, 0x11, 0];
        // 0, then 10101010 = 170, then 0 and padding: 170 / 8 above the centre.
        let scan = [0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 0b0101_0101, 0b0011_1111];
        let codestream = [&[0xff, 0xd8][..], &tables.concat(), &frame, &scan].concat();
        let samples = decode(&codestream, 8, 8).unwrap();
        assert!(samples.as_chunks::<2>().0.iter().all(|pair| u16::from_le_bytes(*pair) == 2048 + 21));
    }

    #[test]
    fn differences_that_add_up_beyond_all_bounds_do_no_harm() {
        let tables = [
            &[0xff, 0xdb, 0, 67, 0][..],
            &[1; 64],
            // Code 0 stands for fifteen bits, and for end of block.
            &[0xff, 0xc4, 0, 20, 0x00, 1],
            &[0; 15],
            &[15],
            &[0xff, 0xc4, 0, 20, 0x10, 1],
            &[0; 15],
            &[0],
        ];
        // 100 000 blocks of 32 767 more than the one before: 0, fifteen ones, 0.
        let side = 2536_u16;
        let [high, low] = side.to_be_bytes();
        let frame = [0xff, 0xc1, 0, 11, 12, high, low, high, low, 1, 1, 0x11, 0];
        let head = [0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0];
        let blocks = usize::from(side / 8).pow(2);
        let bits = (0..blocks * 17).map(|bit| !matches!(bit % 17, 0 | 16)).collect::<Vec<_>>();
        let byte = |bits: &[bool]| bits.iter().fold(0_u8, |byte, bit| byte << 1 | u8::from(*bit));
        let scan =
            bits.chunks(8).map(byte).flat_map(|byte| if byte == 0xff { vec![0xff, 0] } else { vec![byte] });
        let scan = scan.chain([0; 8]).collect::<Vec<_>>();
        let codestream = [&[0xff, 0xd8][..], &tables.concat(), &frame, &head, &scan].concat();
        let samples = decode(&codestream, side.into(), side.into()).unwrap();
        assert_eq!(samples[samples.len() - 2..], 4095_u16.to_le_bytes());
    }
}
