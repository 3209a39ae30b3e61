//! What a package asks to be done with the labels before they are measured.

use imaging::Grid;
use ndarray::Array3;

use crate::{
    package::Label,
    pieces::{Connectivity, Run, pieces},
};

/// Fills holes, keeps the largest piece, drops small ones: in this order, label by label.
pub(crate) fn clean(labels: &mut Array3<u8>, grid: &Grid, rules: &[Label]) {
    for rule in rules {
        if rule.fill_holes {
            fill_holes(labels, rule.value);
        }
        if rule.largest_component || rule.min_volume_ml > 0.0 {
            drop_pieces(labels, grid, rule);
        }
    }
}

fn drop_pieces(labels: &mut Array3<u8>, grid: &Grid, rule: &Label) {
    let found = pieces(labels, |label| label == rule.value, Connectivity::Corners);
    let volumes = found.iter().map(|piece| volume_ml(piece, grid)).collect::<Vec<_>>();
    let largest = volumes.iter().copied().fold(0.0, f64::max);
    let mut kept_largest = false;
    for (piece, volume) in found.iter().zip(volumes) {
        // The first of two equally large ones stays.
        let is_largest = volume == largest && !kept_largest;
        kept_largest |= is_largest;
        let too_small = volume < rule.min_volume_ml;
        if too_small || (rule.largest_component && !is_largest) {
            paint(labels, piece, |_| true, 0);
        }
    }
}

fn volume_ml(piece: &[Run], grid: &Grid) -> f64 {
    piece.iter().map(|run| run.len() as f64 * grid.voxel_volume_mm3(run.slice)).sum::<f64>() / 1000.0
}

/// Background that the label shuts in on all sides becomes the label; other labels stay.
fn fill_holes(labels: &mut Array3<u8>, value: u8) {
    let (slices, rows, columns) = labels.dim();
    let at_edge = |run: &Run| {
        run.slice == 0
            || run.slice + 1 == slices
            || run.row == 0
            || run.row + 1 == rows
            || run.first == 0
            || run.last + 1 == columns
    };
    for piece in pieces(labels, |label| label != value, Connectivity::Faces) {
        if !piece.iter().any(at_edge) {
            paint(labels, &piece, |label| label == 0, value);
        }
    }
}

fn paint(labels: &mut Array3<u8>, piece: &[Run], which: impl Fn(u8) -> bool, value: u8) {
    for run in piece {
        for column in run.first..=run.last {
            let label = &mut labels[[run.slice, run.row, column]];
            if which(*label) {
                *label = value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use imaging::Code;
    use ndarray::s;

    use super::*;

    fn rule(value: u8) -> Label {
        let code = Code::new("1", "99TEST", "test");
        Label {
            value,
            name: String::new(),
            category: code.clone(),
            kind: code,
            region: None,
            color: None,
            min_volume_ml: 0.0,
            largest_component: false,
            fill_holes: false,
        }
    }

    fn grid() -> Grid {
        let affine = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
        Grid::from_affine([12, 10, 8], affine)
    }

    fn two_pieces() -> Array3<u8> {
        let mut labels = Array3::zeros((8, 10, 12));
        labels.slice_mut(s![1..4, 1..4, 1..4]).fill(1);
        labels.slice_mut(s![6..7, 7..9, 8..10]).fill(1);
        labels
    }

    fn count(labels: &Array3<u8>, value: u8) -> usize {
        labels.iter().filter(|label| **label == value).count()
    }

    #[test]
    fn small_pieces_go_by_their_true_volume() {
        let mut labels = two_pieces();
        // 4 voxels of 2 mm³.
        clean(&mut labels, &grid(), &[Label { min_volume_ml: 0.008, ..rule(1) }]);
        assert_eq!(count(&labels, 1), 31);
        clean(&mut labels, &grid(), &[Label { min_volume_ml: 0.0081, ..rule(1) }]);
        assert_eq!(count(&labels, 1), 27);
    }

    #[test]
    fn only_the_largest_piece_stays_when_asked() {
        let mut labels = two_pieces();
        clean(&mut labels, &grid(), &[Label { largest_component: true, ..rule(1) }]);
        assert_eq!(count(&labels, 1), 27);
    }

    #[test]
    fn holes_are_filled_but_other_labels_inside_stay() {
        let mut labels = Array3::zeros((8, 10, 12));
        labels.slice_mut(s![1..6, 1..6, 1..6]).fill(2);
        labels.slice_mut(s![3..4, 3..4, 2..5]).fill(0);
        labels[[3, 3, 3]] = 1;
        clean(&mut labels, &grid(), &[Label { fill_holes: true, ..rule(2) }]);
        assert_eq!((count(&labels, 0), count(&labels, 1)), (8 * 10 * 12 - 125, 1));
    }

    #[test]
    fn a_dent_at_the_edge_is_no_hole() {
        let mut labels = Array3::from_elem((8, 10, 12), 2);
        labels[[0, 5, 5]] = 0;
        clean(&mut labels, &grid(), &[Label { fill_holes: true, ..rule(2) }]);
        assert_eq!(count(&labels, 0), 1);
    }
}
