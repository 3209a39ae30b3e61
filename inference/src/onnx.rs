//! Reads an ONNX file as what it says: nodes, attributes, constants. Computes nothing.
//!
//! A small part of the format: what the graphs of tabular models use. The file comes from
//! outside, so that every length is checked; what cannot be read is a word, not a panic.

mod wire;

use std::collections::HashMap;

use wire::{Value, fields};

/// Why a file or a part of it could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unreadable(pub(crate) &'static str);

/// A graph, borrowed from the bytes of its file.
#[derive(Debug, Default)]
pub(crate) struct OnnxGraph<'a> {
    pub(crate) nodes: Vec<Node<'a>>,
    pub(crate) constants: HashMap<&'a str, Tensor>,
    /// Version by domain; the domain of ONNX itself is the empty one.
    pub(crate) versions: HashMap<&'a str, u64>,
}

/// One operation.
#[derive(Debug, Default)]
pub(crate) struct Node<'a> {
    pub(crate) domain: &'a str,
    pub(crate) operator: &'a str,
    pub(crate) inputs: Vec<&'a str>,
    pub(crate) outputs: Vec<&'a str>,
    pub(crate) attributes: HashMap<&'a str, Attribute<'a>>,
}

/// The value of an attribute; which of the fields counts is the operator's affair.
#[derive(Debug, Default)]
pub(crate) struct Attribute<'a> {
    pub(crate) integer: i64,
    pub(crate) text: &'a [u8],
    pub(crate) tensor: Option<Tensor>,
    pub(crate) floats: Vec<f32>,
    pub(crate) integers: Vec<i64>,
    pub(crate) texts: Vec<&'a [u8]>,
}

/// A constant. Kinds of numbers that no tabular graph of ours uses are not read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) shape: Vec<i64>,
    pub(crate) numbers: Numbers,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Numbers {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I64(Vec<i64>),
    Other,
}

/// The numbers of `TensorProto.DataType`.
const FLOAT: u64 = 1;
const INT64: u64 = 7;
const DOUBLE: u64 = 11;

/// Reads `ModelProto`.
pub(crate) fn parse(file: &[u8]) -> Result<OnnxGraph<'_>, Unreadable> {
    let mut graph = OnnxGraph::default();
    for field in fields(file) {
        match field? {
            (7, Value::Bytes(bytes)) => read_graph(bytes, &mut graph)?,
            (8, Value::Bytes(bytes)) => {
                let (domain, version) = operator_set(bytes)?;
                graph.versions.insert(domain, version);
            }
            _ => {}
        }
    }
    Ok(graph)
}

fn operator_set(bytes: &[u8]) -> Result<(&str, u64), Unreadable> {
    let (mut domain, mut version) = ("", 0);
    for field in fields(bytes) {
        match field? {
            (1, value) => domain = value.text()?,
            (2, Value::Varint(number)) => version = number,
            _ => {}
        }
    }
    Ok((domain, version))
}

fn read_graph<'a>(bytes: &'a [u8], graph: &mut OnnxGraph<'a>) -> Result<(), Unreadable> {
    for field in fields(bytes) {
        match field? {
            (1, Value::Bytes(bytes)) => graph.nodes.push(node(bytes)?),
            (5, Value::Bytes(bytes)) => {
                let (name, tensor) = tensor(bytes)?;
                graph.constants.insert(name, tensor);
            }
            _ => {}
        }
    }
    Ok(())
}

fn node(bytes: &[u8]) -> Result<Node<'_>, Unreadable> {
    let mut node = Node::default();
    for field in fields(bytes) {
        match field? {
            (1, value) => node.inputs.push(value.text()?),
            (2, value) => node.outputs.push(value.text()?),
            (4, value) => node.operator = value.text()?,
            (5, Value::Bytes(bytes)) => {
                let (name, attribute) = attribute(bytes)?;
                node.attributes.insert(name, attribute);
            }
            (7, value) => node.domain = value.text()?,
            _ => {}
        }
    }
    Ok(node)
}

fn attribute(bytes: &[u8]) -> Result<(&str, Attribute<'_>), Unreadable> {
    let (mut name, mut attribute) = ("", Attribute::default());
    for field in fields(bytes) {
        match field? {
            (1, value) => name = value.text()?,
            (3, Value::Varint(number)) => attribute.integer = number.cast_signed(),
            (4, Value::Bytes(bytes)) => attribute.text = bytes,
            (5, Value::Bytes(bytes)) => attribute.tensor = Some(tensor(bytes)?.1),
            (7, value) => value.floats(&mut attribute.floats)?,
            (8, value) => value.integers(&mut attribute.integers)?,
            (9, Value::Bytes(bytes)) => attribute.texts.push(bytes),
            _ => {}
        }
    }
    Ok((name, attribute))
}

fn tensor(bytes: &[u8]) -> Result<(&str, Tensor), Unreadable> {
    let (mut name, mut kind, mut raw, mut elsewhere) = ("", 0, None, false);
    let (mut shape, mut floats, mut integers, mut doubles) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for field in fields(bytes) {
        match field? {
            (1, value) => value.integers(&mut shape)?,
            (2, Value::Varint(number)) => kind = number,
            (4, value) => value.floats(&mut floats)?,
            (7, value) => value.integers(&mut integers)?,
            (8, value) => name = value.text()?,
            (9, Value::Bytes(bytes)) => raw = Some(bytes),
            (10, value) => value.doubles(&mut doubles)?,
            (13, _) | (14, Value::Varint(1..)) => elsewhere = true,
            _ => {}
        }
    }
    let numbers = match (kind, raw) {
        _ if elsewhere => Numbers::Other,
        (FLOAT, Some(raw)) => Numbers::F32(each(raw, f32::from_le_bytes)?),
        (INT64, Some(raw)) => Numbers::I64(each(raw, i64::from_le_bytes)?),
        (DOUBLE, Some(raw)) => Numbers::F64(each(raw, f64::from_le_bytes)?),
        (FLOAT, None) => Numbers::F32(floats),
        (INT64, None) => Numbers::I64(integers),
        (DOUBLE, None) => Numbers::F64(doubles),
        _ => Numbers::Other,
    };
    Ok((name, Tensor { shape, numbers }))
}

/// Little-endian numbers, one after another.
fn each<T, const SIZE: usize>(bytes: &[u8], number: fn([u8; SIZE]) -> T) -> Result<Vec<T>, Unreadable> {
    let (chunks, rest) = bytes.as_chunks::<SIZE>();
    if !rest.is_empty() {
        return Err(Unreadable("its numbers are cut"));
    }
    Ok(chunks.iter().map(|chunk| number(*chunk)).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn file(name: &str) -> Vec<u8> {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models").join(name)).unwrap()
    }

    #[test]
    fn a_forest_is_read_with_its_attributes_and_constants() {
        let file = file("forest.onnx");
        let graph = parse(&file).unwrap();
        assert_eq!((graph.versions[""], graph.versions["ai.onnx.ml"]), (17, 3));
        let operators = graph.nodes.iter().map(|node| node.operator).collect::<Vec<_>>();
        assert_eq!(operators, ["Cast", "TreeEnsembleRegressor", "Cast", "Div", "Squeeze"]);
        let trees = &graph.nodes[1];
        assert_eq!((trees.domain, trees.inputs.as_slice()), ("ai.onnx.ml", ["x"].as_slice()));
        assert_eq!(trees.attributes["nodes_values"].floats[..4], [0.3, 0.0, 0.0, 50.0]);
        assert_eq!(trees.attributes["nodes_modes"].texts[..2], [b"BRANCH_LEQ".as_slice(), b"LEAF"]);
        assert_eq!(graph.constants["count"].numbers, Numbers::F64(vec![4.0]));
        assert_eq!(graph.constants["axis"], Tensor { shape: vec![1], numbers: Numbers::I64(vec![1]) });
    }

    #[test]
    fn a_file_cut_or_changed_anywhere_is_refused_or_read_and_never_a_panic() {
        let whole = file("forest.onnx");
        for length in 0..whole.len() {
            let _either = parse(&whole[..length]);
        }
        for at in 0..whole.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] ^= change;
                let _either = parse(&changed);
            }
        }
    }
}
