//! The operators around the trees: arithmetic, columns, choices.

use super::{Making, NotTaken, integer};
use crate::{
    forest::steps::{Arithmetic, Kind, Numbers, Step},
    onnx::{self, Node},
};

/// `TensorProto.DataType`, as the operator Cast has it.
const TO_FLOAT: i64 = 1;
const TO_INT64: i64 = 7;
const TO_DOUBLE: i64 = 11;

impl<'a> Making<'a> {
    pub(super) fn arithmetic(
        &mut self,
        node: &Node<'a>,
        output: &'a str,
        operation: Arithmetic,
    ) -> Result<(), NotTaken> {
        let (left, right, like) = self.pair(node, [0, 1])?;
        if !matches!(like.kind, Some(Kind::F32 | Kind::F64)) {
            return Err(self.cannot(node));
        }
        self.push(output, like.width, like.kind, Step::Arithmetic(operation, left, right))
    }

    pub(super) fn cast(&mut self, node: &Node<'a>, output: &'a str) -> Result<(), NotTaken> {
        let of = self.value(node, 0)?;
        let to = match (integer(node, "to", 0), of.kind) {
            (TO_FLOAT, Some(Kind::F32 | Kind::F64)) => Kind::F32,
            (TO_DOUBLE, Some(Kind::F32 | Kind::F64)) => Kind::F64,
            // What a tree gives has a whole part; what else is cast might be no number.
            (TO_INT64, Some(Kind::F32))
                if matches!(self.steps.get(of.at.wrapping_sub(1)), Some(Step::Trees(..))) =>
            {
                Kind::I64
            }
            _ => return Err(self.cannot(node)),
        };
        self.push(output, of.width, Some(to), Step::Cast(of.at, to))
    }

    /// Places into a table of constants, or constant places into the columns of a value.
    pub(super) fn gather(&mut self, node: &Node<'a>, output: &'a str) -> Result<(), NotTaken> {
        let axis = integer(node, "axis", 0);
        if let Ok(of) = self.value(node, 0) {
            let places = self.constant(node, 1)?;
            if axis != 1 || places.shape.len() != 1 {
                return Err(self.cannot(node));
            }
            let columns = self
                .integers(node, 1)?
                .iter()
                .map(|place| column(*place, of.width))
                .collect::<Option<Vec<_>>>();
            let columns = columns.filter(|columns| !columns.is_empty()).ok_or_else(|| self.cannot(node))?;
            return self.push(output, columns.len(), of.kind, Step::Columns(of.at, columns));
        }
        let (table, places) = (self.constant(node, 0)?, self.value(node, 1)?);
        if axis != 0 || table.shape.len() != 1 || places.kind != Some(Kind::I64) {
            return Err(self.cannot(node));
        }
        let (numbers, kind) = match &table.numbers {
            onnx::Numbers::F32(numbers) => (Numbers::F32(numbers.clone()), Kind::F32),
            onnx::Numbers::F64(numbers) => (Numbers::F64(numbers.clone()), Kind::F64),
            onnx::Numbers::I64(_) | onnx::Numbers::Other => return Err(self.cannot(node)),
        };
        self.push(output, places.width, Some(kind), Step::Lookup(places.at, numbers))
    }

    pub(super) fn slice(&mut self, node: &Node<'a>, output: &'a str) -> Result<(), NotTaken> {
        let of = self.value(node, 0)?;
        let ([start], [end], [1]) =
            (self.integers(node, 1)?, self.integers(node, 2)?, self.integers(node, 3)?)
        else {
            return Err(self.cannot(node));
        };
        let (Ok(start), Ok(end)) = (usize::try_from(*start), usize::try_from(*end)) else {
            return Err(self.cannot(node));
        };
        if node.inputs.len() > 4 || start >= end || end > of.width {
            return Err(self.cannot(node));
        }
        self.push(output, end - start, of.kind, Step::Columns(of.at, (start..end).collect()))
    }

    pub(super) fn concat(&mut self, node: &Node<'a>, output: &'a str) -> Result<(), NotTaken> {
        let parts =
            (0..node.inputs.len()).map(|input| self.value(node, input)).collect::<Result<Vec<_>, _>>()?;
        let kind = parts.first().and_then(|part| part.kind);
        let same = parts.iter().all(|part| part.kind == kind);
        if integer(node, "axis", 0) != 1 || !same || !matches!(kind, Some(Kind::F32 | Kind::F64)) {
            return Err(self.cannot(node));
        }
        let width = parts.iter().map(|part| part.width).sum();
        self.push(output, width, kind, Step::Join(parts.iter().map(|part| part.at).collect()))
    }

    pub(super) fn running_sum(&mut self, node: &Node<'a>, output: &'a str) -> Result<(), NotTaken> {
        let along_columns = matches!(self.integers(node, 1)?, [1]);
        let plain = integer(node, "exclusive", 0) == 0 && integer(node, "reverse", 0) == 0;
        if !along_columns || !plain {
            return Err(self.cannot(node));
        }
        self.number_step(node, output, Step::RunningSum)
    }

    pub(super) fn number_step(
        &mut self,
        node: &Node<'a>,
        output: &'a str,
        step: fn(usize) -> Step,
    ) -> Result<(), NotTaken> {
        let of = self.value(node, 0)?;
        if !matches!(of.kind, Some(Kind::F32 | Kind::F64)) {
            return Err(self.cannot(node));
        }
        self.push(output, of.width, of.kind, step(of.at))
    }

    pub(super) fn equal(&mut self, node: &Node<'a>, output: &'a str) -> Result<(), NotTaken> {
        let (left, right, like) = self.pair(node, [0, 1])?;
        if !matches!(like.kind, Some(Kind::F32 | Kind::F64)) {
            return Err(self.cannot(node));
        }
        self.push(output, like.width, None, Step::Equal(left, right))
    }

    pub(super) fn choose(&mut self, node: &Node<'a>, output: &'a str) -> Result<(), NotTaken> {
        let condition = self.value(node, 0)?;
        let (then, otherwise, like) = self.pair(node, [1, 2])?;
        let numbers = matches!(like.kind, Some(Kind::F32 | Kind::F64));
        if condition.kind.is_some() || condition.width != like.width || !numbers {
            return Err(self.cannot(node));
        }
        self.push(output, like.width, like.kind, Step::Where(condition.at, then, otherwise))
    }

    /// One column without its axis. What followed would meet the rows instead of the columns, so that it must be the end.
    pub(super) fn squeeze(&mut self, node: &Node<'a>, output: &'a str) -> Result<(), NotTaken> {
        let of = self.value(node, 0)?;
        if of.width != 1 || !matches!(self.integers(node, 1)?, [1 | -1]) {
            return Err(self.cannot(node));
        }
        self.values.insert(output, of);
        self.squeezed = true;
        Ok(())
    }
}

/// A place among `width` columns; a negative one counts from the end.
fn column(place: i64, width: usize) -> Option<usize> {
    let wide = i64::try_from(width).ok()?;
    let place = if place < 0 { place.checked_add(wide)? } else { place };
    usize::try_from(place).ok().filter(|place| *place < width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_from_both_ends() {
        assert_eq!(
            [column(0, 3), column(-1, 3), column(3, 3), column(-4, 3)],
            [Some(0), Some(2), None, None]
        );
        assert_eq!(column(i64::MIN, 3), None);
    }
}
